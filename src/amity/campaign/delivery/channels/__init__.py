"""One file per way to reach a person; the registry lists them."""
