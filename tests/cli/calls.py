"""Calls of the command line in this process."""

import json
from pathlib import Path

from fusionchat.cli.verbs import guarded


def call(capsys, *arguments):
    """Exit code and everything printed."""
    code = guarded([str(a) for a in arguments])
    printed = capsys.readouterr()
    return code, printed.out + printed.err


def refused(capsys, *arguments, code=2):
    """The message of a call that has to fail; never a traceback."""
    got, text = call(capsys, *arguments)
    assert got == code, text
    assert "Traceback" not in text and "bug" not in text
    return text


def header(folder: Path) -> dict:
    """A weight file's header."""
    with (folder / "model.safetensors").open("rb") as file:
        return json.loads(file.read(int.from_bytes(file.read(8), "little")))
