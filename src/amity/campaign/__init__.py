"""The campaign side: keeps the recipients, writes to them, and hears their answers."""
