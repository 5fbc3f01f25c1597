"""How the command line ends: one message and an exit code for every error and every signal.

Exit codes: 2 for the user's mistake, 3 for the machine's error, 1 for a bug, 128 + signal number after a
signal.
"""

import signal
from types import FrameType

import click

from fusionchat import console
from fusionchat.errors import FusionChatError

GOES_ON = {"run", "worker", "represent", "align", "fuse", "distill", "merge", "evaluate", "report", "demo"}
"""Verbs that continue unfinished work of an earlier call."""


class StoppedError(BaseException):
    """The system asked this process to end.

    No ``except Exception`` may delay that, nor an answer that Ctrl-C stops.
    """

    def __init__(self, number: int) -> None:
        self.number = number
        super().__init__(signal.Signals(number).name)


def catch_signals() -> None:
    """Let SIGTERM and SIGHUP end the process as Ctrl-C does: files are closed, partial ones removed.

    A second one ends it at once. Signals that are already ignored (``nohup``) or handled stay so.
    """
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, _stop)


def _stop(number: int, _: FrameType | None) -> None:
    signal.signal(number, signal.SIG_DFL)
    raise StoppedError(number)


def explain(error: BaseException, arguments: list[str]) -> int:
    """Print what went wrong in one message and return the exit code."""
    if isinstance(error, FusionChatError):
        console.error(str(error))
        return error.exit_code
    if isinstance(error, click.UsageError):
        error.show()
        return 2
    if isinstance(error, StoppedError):
        console.error(f"Stopped by {error}. {how_to_go_on(arguments)}".rstrip())
        return 128 + error.number
    if isinstance(error, KeyboardInterrupt | click.Abort):
        console.error(f"Stopped. {how_to_go_on(arguments)}".rstrip())
        return 128 + signal.SIGINT
    return unexpected(error)


def how_to_go_on(arguments: list[str]) -> str:
    """The command that continues after a stop; "" for a verb that leaves nothing unfinished."""
    verb = next((word for word in arguments if not word.startswith("-")), "")
    if verb == "add-source":
        return "Run `fusionchat run` with this recipe to continue."
    return "Run the same command again to continue." if verb in GOES_ON else ""


def unexpected(error: BaseException) -> int:
    """Print an unexpected error; returns its exit code: out of memory is the machine's, others are bugs."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        console.error(
            "Out of memory\n  do:    lower represent.batch_tokens (capture), runtime.batch_tokens (evaluation) or "
            "runtime.micro_batch_tokens (training), then run again"
        )
        return 3
    text = (str(error).strip() or "no message").splitlines()[0]
    console.error(
        f"This is a bug in FusionChat: {type(error).__name__}: {text}\n  do:    run with --debug and report it"
    )
    return 1
