"""The functions an expression may call, one file per family."""
