"""One typed expression tree: what an audience, a mapping or a filter says."""
