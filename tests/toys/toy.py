"""Toys: what someone may add to FusionChat, each a patch in this folder that is applied to a copy of the package."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from tests.forked import Forked
from tests.shared import ROOT

HERE = Path(__file__).parent


def apply(name: str, tmp_path: Path) -> Path:
    """The ``src`` of a copy of the package with the patch ``NAME.patch`` applied."""
    root = tmp_path / f"toy_{name}"
    shutil.copytree(ROOT / "src", root / "src", ignore=shutil.ignore_patterns("*.egg-info"))
    environment = os.environ | {
        "GIT_CEILING_DIRECTORIES": str(tmp_path)
    }  # a repository around it is not meant
    command = ["git", "apply", "-p1", str(HERE / f"{name}.patch")]
    subprocess.run(command, cwd=root, env=environment, check=True)
    return root / "src"


def files(name: str) -> list[str]:
    """The files that a toy's patch adds, changes or removes, from the root of the repository."""
    text = (HERE / f"{name}.patch").read_text(encoding="utf-8")
    return re.findall(r"^diff --git a/\S+ b/(\S+)$", text, flags=re.MULTILINE)


def python(src: Path, *arguments: str, cwd: Path) -> str:
    """What Python prints with a patched package, which a fork of this process imports; fails where Python does."""
    environment = os.environ | {"PYTHONPATH": str(src), "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    pipe = subprocess.PIPE
    with Forked(
        [sys.executable, *arguments], cwd=cwd, env=environment, stdout=pipe, stderr=pipe, text=True
    ) as process:
        said, errors = process.communicate()
    assert process.returncode == 0, said + errors
    return said
