"""The people a campaign may write to; this database is the truth about them."""
