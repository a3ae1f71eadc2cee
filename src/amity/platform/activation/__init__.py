"""Stage 8: audiences leave for destinations, on schedule and with a manifest."""
