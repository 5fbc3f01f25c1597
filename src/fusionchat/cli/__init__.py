"""The command line: verbs only."""

from fusionchat.cli.verbs import main

__all__ = ["main"]
