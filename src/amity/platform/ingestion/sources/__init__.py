"""One file per kind of source that fetches data; the registry lists them."""
