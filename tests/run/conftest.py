"""A finished run to change."""

import shutil
from pathlib import Path

import pytest


@pytest.fixture
def copied(finished, tiny) -> Path:
    """A copy of a finished run, in a working directory of its own."""
    shutil.copytree(finished.folder, tiny / "runs/tiny")
    return tiny / "runs/tiny"
