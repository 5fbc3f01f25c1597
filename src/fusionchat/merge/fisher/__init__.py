"""Fisher information, worked out and stored."""
