"""Stage 1: schemas, field groups, data types, descriptors."""
