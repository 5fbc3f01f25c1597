"""The command line: verbs only."""

from fusionchat.cli.main import main

__all__ = ["main"]
