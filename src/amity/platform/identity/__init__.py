"""Stage 4: which identities are one person."""
