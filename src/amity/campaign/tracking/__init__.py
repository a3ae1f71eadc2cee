"""What people did with a message: opens, clicks, bounces, opt-outs."""
