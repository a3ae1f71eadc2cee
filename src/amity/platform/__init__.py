"""The platform side: from a record at the door to an audience file."""
