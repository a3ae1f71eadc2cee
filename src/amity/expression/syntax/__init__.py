"""The notations that are read into the expression tree."""
