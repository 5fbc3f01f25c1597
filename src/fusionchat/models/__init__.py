"""Models: where they are, what identifies them, how they are loaded, and the head that is kept apart."""
