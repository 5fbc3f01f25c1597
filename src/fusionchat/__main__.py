"""``python -m fusionchat``: the command line."""

from fusionchat.cli.main import main

main()
