"""Layers of several models, combined in one stack."""
