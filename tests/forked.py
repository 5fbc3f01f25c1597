"""Python processes that are forks of this one: torch and transformers are not imported anew, which takes seconds.

``python -m fusionchat...`` keeps this one's `fusionchat` too, and forgets what a new process does not know. ``python -c
CODE`` imports it anew, from the first folder of its ``PYTHONPATH``.
"""

import inspect
import os
import runpy
import subprocess
import sys
import traceback
from contextlib import suppress

import pytest

PROGRAM = [sys.executable, "-m", "fusionchat"]
PIPES = ("p2cread", "p2cwrite", "c2pread", "c2pwrite", "errread", "errwrite")
_START = inspect.signature(subprocess.Popen._execute_child)


class Forked(subprocess.Popen):
    """A `subprocess.Popen` that forks for ``python -m fusionchat...`` and ``python -c``, and starts all else as ever."""

    def _execute_child(self, args, *others):
        if not (args[0] == sys.executable and (args[1] == "-c" or is_ours(args))):
            super()._execute_child(args, *others)
            return
        how = _START.bind(self, args, *others).arguments
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        self.pid = os.fork()
        if self.pid == 0:
            os._exit(be(list(args[1:]), how))
        self._child_created = True
        self._close_pipe_fds(*(how[name] for name in PIPES))


def is_ours(args) -> bool:
    """Whether Python's arguments start a module of `fusionchat`."""
    return args[1] == "-m" and args[2].split(".")[0] == "fusionchat"


def be(arguments: list[str], how: dict) -> int:
    """Be a process that was started with these arguments in some way; returns its exit code."""
    try:
        path = os.environ.get("PYTHONPATH")
        place(how)
        kind, work, *rest = arguments
        forget()
        if kind == "-c" or os.environ.get("PYTHONPATH") != path:
            unload()
        if kind == "-c":
            sys.argv = [kind, *rest]
            exec(compile(work, "<string>", "exec"), {"__name__": "__main__"})
        else:
            sys.argv = [work, *rest]
            runpy.run_module(work, run_name="__main__", alter_sys=True)
    except SystemExit as end:
        return int(end.code or 0)
    except BaseException:
        traceback.print_exc()
        return 1
    finally:
        for stream in (sys.stdout, sys.stderr):
            with suppress(BrokenPipeError):
                stream.flush()
    return 0


def place(how: dict) -> None:
    """Take the streams, the folder, the environment and the group of processes that `Popen` was given."""
    if how["start_new_session"]:
        os.setsid()
    elif how["process_group"] >= 0:
        os.setpgid(0, how["process_group"])
    for number, name in enumerate(("p2cread", "c2pwrite", "errwrite")):
        if how[name] != -1:
            os.dup2(how[name], number)
    os.closerange(3, os.sysconf("SC_OPEN_MAX"))
    sys.stdin, sys.stdout, sys.stderr = open(0), open(1, "w"), open(2, "w", buffering=1)  # noqa: SIM115
    if how["env"] is not None:
        os.environ.clear()
        os.environ.update(how["env"])
    if how["cwd"] is not None:
        os.chdir(how["cwd"])
    if how["preexec_fn"] is not None:
        how["preexec_fn"]()


def forget() -> None:
    """Forget the checksums of files, and that this process has trained."""
    from accelerate.state import AcceleratorState

    from fusionchat import artifacts

    artifacts._HASHED.clear()
    AcceleratorState._reset_state(reset_partial_state=True)


def unload() -> None:
    """Let `fusionchat` be imported anew, by the environment's path, without the tests' checks of shapes."""
    sys.path[:0] = os.environ.get("PYTHONPATH", "").split(os.pathsep)[:1]
    sys.meta_path[:] = [one for one in sys.meta_path if type(one).__module__.split(".")[0] != "jaxtyping"]
    for name in [name for name in sys.modules if name.split(".")[0] == "fusionchat"]:
        del sys.modules[name]


@pytest.fixture
def forked(monkeypatch):
    """Whoever starts ``python -m fusionchat...`` or ``python -c`` in this test has a fork of this process."""
    monkeypatch.setattr(subprocess, "Popen", Forked)
