"""Amity: an open, self-hosted real-time customer data platform with a campaign engine."""
