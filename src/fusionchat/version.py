"""The version of FusionChat."""

__version__ = "0.1.0"
