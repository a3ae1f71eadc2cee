"""The ways to run an expression: rows, closures, SQL; all agree."""
