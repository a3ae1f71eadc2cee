"""One file per kind of destination; the registry lists them."""
