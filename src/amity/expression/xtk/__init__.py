"""The condition language of the campaign side: what is in it and what it means."""
