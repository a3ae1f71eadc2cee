"""Stage 6: who belongs to which audience, from the moment that changes."""
