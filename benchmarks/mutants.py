"""Small mistakes put into the numeric core on purpose, and whether the tests notice: ``python -m benchmarks.mutants``.

Each mutant of `benchmarks.mutant_list` changes one expression in a copy of the package. Its tests run on the copy; it is
*caught* where they fail, and *survives* where they pass, which is a test that is missing. First the tests of all mutants
must pass on an unchanged copy. Writes docs/results/mutants.md.

    python -m benchmarks.mutants                        # all of them, 5 minutes of a core
    python -m benchmarks.mutants --only merge/ --out -  # those of some files; prints the table

The last line is JSON: ``{"mutants": 68, "caught": 68, "survivors": []}``. Ends with exit code 1 where one survives.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

import numba
import pytest
import torch  # noqa: F401 - see run_tests

from benchmarks.mutant_list import MUTANTS, Mutant

ROOT = Path(__file__).resolve().parents[1]
SRC = ROOT / "src" / "fusionchat"
PAGE = ROOT / "docs" / "results" / "mutants.md"
HISTORY = """
The first run caught 39 of 42. The shares of a variation ratio with several columns, and edit distances of more than 64
bytes, were tested by chance or not at all: both have a test now. The mass that a pivot token has already was tested, but
not by the test named.
"""


class Verdict(NamedTuple):
    """What the tests said of a mutant: whether they failed, the first test that did, and its error in one line."""

    caught: bool
    test: str = ""
    error: str = ""


def mutated(text: str, mutant: Mutant) -> str:
    """The file's text with the mistake; raises ValueError where its place is not found exactly once."""
    if text.count(mutant.old) != 1:
        raise ValueError(f"{mutant.file} has {text.count(mutant.old)} times: {mutant.old!r}")
    return text.replace(mutant.old, mutant.new)


def copy_with(mutant: Mutant | None, folder: Path) -> Path:
    """A copy of the package in a folder, without compiled code, and with the mutant's mistake."""
    package = folder / "fusionchat"
    shutil.copytree(SRC, package, ignore=shutil.ignore_patterns("__pycache__"))
    if mutant is not None:
        file = package / mutant.file
        file.write_text(mutated(file.read_text(encoding="utf-8"), mutant), encoding="utf-8")
    return package


def run_tests(names: Iterable[str], copy: Path) -> tuple[int, str]:
    """pytest of some tests, up to the first failure, with a copy in place of the package: its exit code and output.

    In a fork of this process, which has torch and numba loaded already: that is most of what a small test takes.
    """
    output = copy.parent / "pytest.txt"
    child = get_context("fork").Process(
        target=_pytest, args=([f"tests/{name}" for name in names], copy, output)
    )
    child.start()
    child.join()
    assert child.exitcode is not None, "it was waited for"
    return child.exitcode, output.read_text(encoding="utf-8")


def _pytest(tests: list[str], copy: Path, output: Path) -> None:
    """Run the tests in this process and end it."""
    assert "fusionchat" not in sys.modules, "the copy would not be what is imported"
    numba.config.CACHE_DIR = str(copy.parent / "numba")
    sys.path.insert(0, str(copy.parent))
    os.environ["PYTHONPATH"] = str(copy.parent)
    with output.open("wb") as file:
        for stream in (1, 2):
            os.dup2(file.fileno(), stream)
    code = pytest.main(
        [*tests, "-x", "-p", "no:cacheprovider", "--durations=0", "--tb=short", f"--rootdir={ROOT}"]
    )
    assert sys.modules["fusionchat"].__file__ == str(copy / "__init__.py"), "another package was tested"
    sys.stdout.flush()
    os._exit(int(code))


def judge(returncode: int, output: str) -> Verdict:
    """The verdict of a run of pytest; raises RuntimeError where it ran no tests (they are not found, or do not import)."""
    if returncode == 0:
        return Verdict(caught=False)
    failed = re.search(r"^FAILED tests/([^\s\[]+)(.*)$", output, re.MULTILINE)
    if returncode != 1 or failed is None:
        raise RuntimeError(f"pytest ended with {returncode}:\n{output[-2000:]}")
    return Verdict(True, failed[1], failed[2].rpartition("] - ")[2].removeprefix(" - ").strip())


def try_mutant(mutant: Mutant) -> Verdict:
    """What its tests say of a mutant."""
    with tempfile.TemporaryDirectory() as folder:
        return judge(*run_tests(mutant.tests, copy_with(mutant, Path(folder))))


def check_baseline(mutants: Iterable[Mutant]) -> None:
    """Raise RuntimeError where a test fails without a mutant."""
    names = sorted({test for mutant in mutants for test in mutant.tests})
    with tempfile.TemporaryDirectory() as folder:
        code, output = run_tests(names, copy_with(None, Path(folder)))
    if code:
        raise RuntimeError(f"tests fail without a mutant:\n{output[-3000:]}")


def code(text: str) -> str:
    """A piece of code in a cell of a table."""
    return "`" + " ".join(text.split()).replace("|", "\\|") + "`"


def commit() -> str:
    """This checkout's commit, shortened."""
    command = ["git", "rev-parse", "--short", "HEAD"]
    return subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.strip()


def page(results: list[tuple[Mutant, Verdict]]) -> str:
    """docs/results/mutants.md."""
    caught = sum(verdict.caught for _, verdict in results)
    lines = [
        "# Mutants: mistakes made on purpose, and the tests that notice",
        "",
        f"{len(results)} one-expression mistakes in the numeric core, each put into a copy of the package; {caught} are caught.",
        f"Made by `python -m benchmarks.mutants` (commit {commit()}); the list is `benchmarks/mutant_list.py`.",
        "",
        "| mistake | file | written | mutated | caught by |",
        "|---|---|---|---|---|",
    ]
    for mutant, verdict in results:
        by = f"`{verdict.test}`" if verdict.caught else "**survives**"
        lines.append(f"| {mutant.kind} | `{mutant.file}` | {code(mutant.old)} | {code(mutant.new)} | {by} |")
    return "\n".join(lines) + "\n" + HISTORY


def main() -> int:
    """Try the mutants; write or print the table, then the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--only", default="", help="mutants of files with this text in their path")
    parser.add_argument(
        "--unchecked", action="store_true", help="the tests are known to pass without a mutant"
    )
    parser.add_argument("--out", default=str(PAGE), help="file to write; - prints")
    given = parser.parse_args()
    chosen = [mutant for mutant in MUTANTS if given.only in mutant.file]
    os.chdir(ROOT)
    if not given.unchecked:
        check_baseline(chosen)
    results = []
    for mutant in chosen:
        started = time.monotonic()
        verdict = try_mutant(mutant)
        results.append((mutant, verdict))
        word = "caught" if verdict.caught else "SURVIVES"
        print(
            f"{word:8} {mutant.file}: {mutant.kind}, {time.monotonic() - started:.0f} s. {verdict.error[:90]}",
            flush=True,
        )
    if given.out == "-":
        print(page(results))
    else:
        Path(given.out).write_text(page(results), encoding="utf-8")
    survivors = [f"{mutant.file}: {mutant.old}" for mutant, verdict in results if not verdict.caught]
    print(
        json.dumps({"mutants": len(results), "caught": len(results) - len(survivors), "survivors": survivors})
    )
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main())
