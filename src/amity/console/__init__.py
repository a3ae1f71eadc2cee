"""What the pages of the console read, and who may sign in."""
