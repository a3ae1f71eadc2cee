"""The lock between the two sides: file formats, manifests, names, guardrails."""
