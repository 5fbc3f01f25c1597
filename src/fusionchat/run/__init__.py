"""What is done, what is stale, and who does it where."""
