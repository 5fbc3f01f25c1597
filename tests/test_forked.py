"""Forks of the tests' process are to whoever starts them what new processes are."""

import os
import subprocess
import sys

import pytest

from tests.forked import PROGRAM, Forked

CODE = """
import os, sys, fusionchat
print(os.getcwd(), os.environ["ONLY"], len(os.environ), sys.stdin.read(), sys.argv)
print(fusionchat.__file__, file=sys.stderr)
sys.exit(3)
"""


def test_streams_folder_environment_and_exit_code_are_its_own(forked, tmp_path):
    (tmp_path / "fusionchat").mkdir()
    (tmp_path / "fusionchat/__init__.py").touch()
    environment = {"ONLY": "this", "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", CODE, "more"], cwd=tmp_path, env=environment, input="said", capture_output=True,
        text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (3, f"{tmp_path} this 2 said ['-c', 'more']\n")
    assert done.stderr.strip() == str(
        tmp_path / "fusionchat/__init__.py"
    )  # not the package that is imported here


def test_an_error_and_a_signal_end_it(forked):
    done = subprocess.run([sys.executable, "-c", "1 / 0"], capture_output=True, text=True, check=False)
    assert done.returncode == 1 and done.stderr.rstrip().endswith("ZeroDivisionError: division by zero")
    with Forked([sys.executable, "-c", "import time; time.sleep(60)"]) as process:
        process.terminate()
        assert process.wait(30) == -15


@pytest.mark.parametrize("command", [PROGRAM, [sys.executable, "-m", "fusionchat.cli"]])
def test_a_module_of_ours_is_run(forked, command):
    done = subprocess.run([*command, "--version"], capture_output=True, text=True, check=False)
    if command == PROGRAM:
        assert done.stdout.startswith("fusionchat, version") and done.returncode == 0
    else:
        assert "'fusionchat.cli' is a package and cannot be directly executed" in done.stderr


def test_all_else_is_started_as_ever(forked):
    done = subprocess.run(
        [sys.executable, "-S", "-c", "import os; print(os.getppid())"], capture_output=True, check=True
    )
    assert int(done.stdout) == os.getpid()
