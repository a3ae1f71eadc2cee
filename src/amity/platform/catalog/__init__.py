"""Stage 2: datasets, batches, their labels, and the flows that feed or drain them."""
