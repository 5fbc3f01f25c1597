"""What every benchmark of a GPU does around its figures: versions and seconds beside them, no figure without a GPU."""

import argparse
import json
import os
import platform
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
import transformers


def measured(
    doc: str | None, measure: Callable[[torch.device], Mapping[str, object]]
) -> tuple[dict[str, object], Path | None]:
    """The figures, null without a GPU, and the folder for them that the command line or ``$OUT`` names."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--out", type=Path, default=os.environ.get("OUT"), help="a folder for the figures ($OUT)"
    )
    asked = parser.parse_args()
    gpu = torch.cuda.is_available()
    begun = time.monotonic()
    figures = measure(torch.device("cuda" if gpu else "cpu"))
    found: dict[str, object] = {
        "gpu": torch.cuda.get_device_name() if gpu else None,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "seconds": round(time.monotonic() - begun, 1),
        **(figures if gpu else dict.fromkeys(figures)),
    }
    if not gpu:
        print("no GPU here: everything ran to its end at toy size on the CPU, and nothing was measured")
    return found, asked.out


def write(found: Mapping[str, object], folder: Path | None, name: str) -> None:
    """Print the figures as the last line, and write them to a file of the folder."""
    line = json.dumps(found)
    if folder is not None:
        (folder / name).write_text(line + "\n", encoding="utf-8")
    print(line)
