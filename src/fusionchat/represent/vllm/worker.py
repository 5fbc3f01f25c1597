"""vLLM in a process of its own, with another interpreter, connected by pipes.

The process ends with this one.
"""

import os
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO

import numpy as np
from numpy.typing import NDArray
from pydantic import JsonValue

from fusionchat.corpus.rendered_part import RenderedPart
from fusionchat.errors import ModelError
from fusionchat.represent.asked import Asked
from fusionchat.represent.entries import Entries
from fusionchat.represent.from_entries import scored
from fusionchat.represent.topk import Scored
from fusionchat.represent.vllm.in_vllm import Arrays, Head, receive, send

SCRIPT = Path(__file__).with_name("in_vllm.py")
LAST_LINES = 12
GRACE_S = 20.0
"""Seconds that vLLM may take to end after its last answer."""
FIND_VERSION = (
    "import importlib.metadata as m, importlib.util as u; names = m.packages_distributions().get('vllm'); "
    "print(m.version(names[0]) if names else 'unknown' if u.find_spec('vllm') else '')"
)
OTHERS = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")
"""Variables of this environment that would make its packages visible in vLLM's."""


def environment() -> dict[str, str]:
    """The environment variables of vLLM's process: no usage statistics, no packages of ours."""
    held = {name: value for name, value in os.environ.items() if name not in OTHERS}
    return {"VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1"} | held


@cache
def version_in(python: str) -> str:
    """The version of vLLM in an interpreter's environment: "" for none, "unknown" without metadata.

    A checkout, for example, has no metadata.

    Raises:
        OSError: The interpreter cannot be started.
    """
    done = subprocess.run(
        [python, "-c", FIND_VERSION], capture_output=True, text=True, check=False, env=environment()
    )
    return done.stdout.strip() if done.returncode == 0 else ""


class Worker:
    """A model open in vLLM.

    Args:
        python: The interpreter of vLLM's environment.
        engine: The arguments of `vllm.LLM`.
        asked: What is captured.

    Raises:
        ModelError: vLLM cannot open it; its own message and the last lines of its log are included.
    """

    def __init__(self, python: str, engine: dict[str, JsonValue], asked: Asked) -> None:
        self.asked = asked
        self._log: IO[bytes] = TemporaryFile()  # noqa: SIM115 (closed with the worker)
        self._process = subprocess.Popen(
            [python, str(SCRIPT)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            env=environment(),
            start_new_session=True,
        )
        assert self._process.stdin is not None and self._process.stdout is not None
        self._source, self._sink = self._process.stdin, self._process.stdout
        try:
            self._send({"engine": engine, "k": min(asked.k, asked.vocabulary)})
            self.version = str(self._receive()[0]["version"])
        except BaseException:
            self.close(wait=False)
            raise

    def __call__(
        self, rendered: RenderedPart, *, names: Sequence[str], advance: Callable[[int], None]
    ) -> Scored:
        """The model's distributions for every supervised token; raises ModelError if vLLM fails."""
        supervised = rendered.supervised
        self._send(
            {},
            input_ids=rendered.input_ids,
            starts=rendered.starts,
            rows=rendered.places,
            offsets=supervised.offsets,
        )
        found, done = [], 0
        while done < len(rendered):
            head, arrays = self._receive()
            found.append(arrays)
            first, done = done, done + int(str(head["conversations"]))
            advance(int(rendered.lengths[first:done].sum()))
        ids, logprobs, counts = (
            np.concatenate([arrays[name] for arrays in found]) for name in ("ids", "logprobs", "counts")
        )
        return scored(Entries(ids, logprobs.astype(np.float64), counts), rendered, names, self.asked)

    def close(self, *, wait: bool = True) -> None:
        """End vLLM and all that it started."""
        process = self._process
        if wait:
            self._send({"end": True})
        for pipe in (self._source, self._sink):
            with suppress(OSError):
                pipe.close()
        with suppress(subprocess.TimeoutExpired):
            process.wait(GRACE_S if wait else 0.0)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        self._log.close()

    def _send(self, head: Mapping[str, object], **arrays: NDArray[np.generic]) -> None:
        with suppress(BrokenPipeError):  # the next read fails and reports the end of the log
            send(self._source, head, arrays)

    def _receive(self) -> tuple[Head, Arrays]:
        try:
            head, arrays = receive(self._sink)
        except (EOFError, ValueError) as error:
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(GRACE_S)
            raise self._failed(f"its process ended ({self._process.returncode})") from error
        if "error" in head:
            raise self._failed(str(head["error"]))
        return head, arrays

    def _failed(self, words: str) -> ModelError:
        self._log.seek(0)
        lines = [line.strip() for line in self._log.read().decode(errors="replace").splitlines()]
        last = [line for line in lines if line][-LAST_LINES:]
        shown = "".join(f"\n    | {line[:200]}" for line in last)
        return ModelError(
            f"vLLM fails: {words}\n  the last lines of its log:{shown}",
            where=self.asked.place,
            do="correct what the message names; if memory ran out, lower `step_tokens` or `memory`, or raise "
            "`tensor_parallel`",
        )
