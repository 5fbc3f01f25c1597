"""The figures of the house: counted as said, and the last line of the command is JSON."""

import json
import subprocess
import sys

from benchmarks.house import code, files_touched

from tests.shared import ROOT

TEXT = '''"""A file."""

import os


def f(x):
    """Returns 1."""
    if x:
        y = 1
        return y
    return 1
'''


def test_lines_statements_and_functions(tmp_path):
    (tmp_path / "a.py").write_text(TEXT)
    assert code(["a.py"], tmp_path) == (11, 6, [4])


def test_files_of_a_patch(tmp_path):
    patch = tmp_path / "p.patch"
    assert files_touched(patch) is None
    patch.write_text("diff --git a/x.py b/x.py\n+diff\ndiff --git a/y.py b/y.py\n")
    assert files_touched(patch) == 2


def test_the_last_line_is_json_and_the_house_is_in_order():
    command = [sys.executable, "-m", "benchmarks.house"]
    out = subprocess.run(command, check=True, cwd=ROOT, capture_output=True, text=True).stdout
    figures = json.loads(out.splitlines()[-1])
    assert list(figures) == [
        "circles", "upward", "hidden_imports", "files_touched", "lines", "statements", "functions", "heavy_imports",
    ]  # fmt: skip
    assert (figures["circles"], figures["upward"], figures["heavy_imports"]) == (0, 0, 0)
    assert len(figures["files_touched"]) == 5 and set(figures["files_touched"].values()) == {1}
