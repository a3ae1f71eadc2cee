"""Log files for the platform, by the rules of the exchange."""
