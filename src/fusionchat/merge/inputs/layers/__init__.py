"""Layers of several models in one stack."""
