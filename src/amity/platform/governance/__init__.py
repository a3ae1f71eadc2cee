"""Stage 7: which labelled data may go where, and why not."""
