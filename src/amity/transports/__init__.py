"""Where files of others live; one small port, used by both sides."""
