"""One file per kind of activity; the registry lists them."""
