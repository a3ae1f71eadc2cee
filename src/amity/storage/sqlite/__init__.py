"""The log, state, tables and documents ports on SQLite."""
