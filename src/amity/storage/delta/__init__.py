"""The lake port on Delta tables, read with DuckDB."""
