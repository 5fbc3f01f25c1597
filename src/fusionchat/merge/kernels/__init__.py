"""Compiled loops over blocks of elements."""
