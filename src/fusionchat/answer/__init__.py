"""A model answers prompts in its own chat template; a conversation comes of each."""
