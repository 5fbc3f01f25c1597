"""``python -m fusionchat``: the command line."""

from fusionchat.cli import main

main()
