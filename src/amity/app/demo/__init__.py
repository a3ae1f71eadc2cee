"""The demo: a real shop's customers become audiences, and every hop must add up."""
