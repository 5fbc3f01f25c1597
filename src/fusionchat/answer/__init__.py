"""A model answers prompts in its own chat template; each becomes a conversation."""
