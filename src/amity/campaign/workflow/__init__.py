"""The graph of activities that conducts a campaign."""
