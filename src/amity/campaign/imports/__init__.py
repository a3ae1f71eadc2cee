"""Files of the exchange, read once and reconciled with the recipients."""
