"""Distributions carried over to the pivot's rows and vocabulary."""
