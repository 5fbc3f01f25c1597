"""Capture backends."""
