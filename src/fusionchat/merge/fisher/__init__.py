"""Fisher information, computed and stored."""
