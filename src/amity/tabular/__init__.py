"""CSV, JSON lines and Parquet in and out, with rejects and size limits."""
