"""Adapters as changes of the model they were trained on."""
