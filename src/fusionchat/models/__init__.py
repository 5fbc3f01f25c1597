"""Models: where they are, what identifies them, how they are loaded, and their heads."""
