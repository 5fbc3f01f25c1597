"""Trains models of the demo in a process of its own.

It is run as ``python -m fusionchat.demo.worker ROOT NAME,NAME SEED SCALE``.

Every line on stdout is the number of conversations trained since the last one. When the reader of that pipe
dies, so does the worker, with a broken pipe: a killed demo leaves no process behind.
"""

import sys
from pathlib import Path

from fusionchat.demo.models import make_model
from fusionchat.demo.parts import Part, making
from fusionchat.errors import FusionChatError


def tell(count: int) -> None:
    """Report progress to the parent."""
    sys.stdout.write(f"{count}\n")
    sys.stdout.flush()


def main(root: str, names: str, seed: str, scale: str) -> int:
    """Make the models one after the other; returns the exit code."""
    try:
        for name in names.split(","):
            part = Part(Path(root), f"models/{name}", int(seed), float(scale))
            with making(part) as folder:
                make_model(folder, name, seed=part.seed, scale=part.scale, advance=tell)
    except FusionChatError as error:
        sys.stderr.write(str(error))
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
