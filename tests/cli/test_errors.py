"""How the command line ends: signals."""

import os
import signal
import subprocess
import sys
import time

import pytest

from fusionchat.cli import run_recipe, verbs
from fusionchat.cli.errors import StoppedError, explain
from tests.forked import PROGRAM


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP", "SIGINT"])
def test_a_signal_ends_a_run_with_a_message_and_its_code(tmp_path, forked, name):
    number = getattr(signal, name)

    def run(*_, **__):
        try:
            os.kill(os.getpid(), number)
            time.sleep(5)
        except Exception:  # as a library may
            pass
        finally:
            sys.stderr.write("tidied\n")

    def with_a_run_that_is_stopped():
        signal.signal(number, signal.default_int_handler if name == "SIGINT" else signal.SIG_DFL)
        verbs.load, run_recipe.run_stage = lambda *_: None, run

    done = subprocess.run(
        [*PROGRAM, "run", "recipe.yaml"], preexec_fn=with_a_run_that_is_stopped, capture_output=True, text=True,
        check=False, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 128 + number, done.stderr
    assert "tidied" in done.stderr and "Run the same command again" in done.stderr
    assert "Traceback" not in done.stderr and (name == "SIGINT") == (name not in done.stderr)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run", "r.yaml"], "Run the same command again"),
        (["--debug", "demo"], "Run the same command again"),
        (["merge", "--pivot", "p"], "Run the same command again"),
        (["add-source", "r.yaml"], "`fusionchat run` with this recipe"),
        (["chat", "x"], ""),
        (["plan", "r.yaml"], ""),
    ],
)
def test_how_to_go_on_is_said_where_something_is_left(capsys, arguments, words):
    assert explain(KeyboardInterrupt(), arguments) == 130
    said = capsys.readouterr().err
    assert words in said and (words or "again" not in said)
    assert explain(StoppedError(signal.SIGTERM), arguments) == 143
    assert "Stopped by SIGTERM." in capsys.readouterr().err


def test_a_handler_that_is_there_stays(monkeypatch):
    """``nohup`` has SIGHUP ignored."""
    from fusionchat.cli.errors import catch_signals

    before = signal.signal(signal.SIGHUP, signal.SIG_IGN), signal.getsignal(signal.SIGTERM)
    try:
        catch_signals()
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
        with pytest.raises(StoppedError):
            os.kill(os.getpid(), signal.SIGTERM)
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL, "a second one ends it at once"
    finally:
        signal.signal(signal.SIGHUP, before[0])
        signal.signal(signal.SIGTERM, before[1])
