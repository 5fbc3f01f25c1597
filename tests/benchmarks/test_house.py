"""The figures of the house: counted as said, and the last line of the command is JSON."""

import json
import subprocess
import sys

from benchmarks.house import code, files_touched, merge_methods, positional_over

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


def test_functions_with_many_arguments_are_counted(tmp_path):
    text = "def f(a, b, c, d, e, g): pass\nclass C:\n    def m(self, a, b, c, d, e): pass\ndef k(a, *, b, c, d, e, g): pass\n"
    (tmp_path / "a.py").write_text(text)
    assert positional_over(5, tmp_path) == 1


def test_lines_of_merge_methods(tmp_path):
    """The class with its decorator, its field, its function and the one statement: docstrings do not count."""
    text = '@d\nclass A:\n    """A."""\n    method: Literal["a"] = "a"\n\n    def f(self):\n        """B."""\n        return 1\n'
    (tmp_path / "a.py").write_text(text)
    found = merge_methods(tmp_path)
    assert found == {"a": 5}


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
        "circles", "upward", "hidden_imports", "files_touched", "lines", "statements", "positional_over_5",
        "long_first_lines", "merge_methods", "functions", "heavy_imports",
    ]  # fmt: skip
    assert [figures[key] for key in ("circles", "upward", "long_first_lines", "heavy_imports")] == [0] * 4
    assert len(figures["files_touched"]) == 5 and set(figures["files_touched"].values()) == {1}
