"""``python -m fusionchat``: the command line."""

from fusionchat.cli.verbs import main

main()
