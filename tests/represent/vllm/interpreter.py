"""An interpreter with a stand-in for vLLM: a script that starts this one with another path."""

import sys
from pathlib import Path

FAKE = Path(__file__).with_name("fake")


def interpreter(folder: Path, *, has_vllm: bool = True) -> str:
    """Write the script; the packages of this environment are there too."""
    script = folder / "python"
    path = FAKE if has_vllm else folder
    script.write_text(f'#!/bin/sh\nPYTHONPATH={path} exec {sys.executable} "$@"\n')
    script.chmod(0o755)
    return str(script)
