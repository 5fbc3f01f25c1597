"""The part of a capture that runs inside vLLM's own environment.

It imports only the standard library, numpy and vllm.

It is started as a script. It reads frames from stdin and writes frames to stdout, each a line of JSON and the
bytes of arrays: first the arguments of `vllm.LLM`, then conversations, which it answers with the entries of
their supervised tokens, in parts. Whatever vLLM prints goes to stderr.
"""

import json
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from typing import IO, Protocol

import numpy as np
from numpy.typing import NDArray

Head = dict[str, object]
Arrays = dict[str, NDArray[np.generic]]

PART_TOKENS = 2**16
"""Tokens of the conversations that are answered at once.

vLLM returns Python numbers for them, 1 KB a token.
"""


class Flat(Protocol):
    """vLLM's ``FlatLogprobs``: the entries of all places of a prompt, and where each place's are."""

    start_indices: Sequence[int]
    end_indices: Sequence[int]
    token_ids: Sequence[int]
    logprobs: Sequence[float]


class Made(Protocol):
    """vLLM's ``RequestOutput``."""

    prompt_token_ids: Sequence[int]
    prompt_logprobs: Flat


class Engine(Protocol):
    """``vllm.LLM``."""

    def generate(self, prompts: Sequence[object], settings: object, *, use_tqdm: bool) -> Sequence[Made]:
        """Outputs in the order of the prompts."""
        ...


def send(stream: IO[bytes], head: Mapping[str, object], arrays: Mapping[str, NDArray[np.generic]]) -> None:
    """Write one frame: ``head`` as JSON, then the arrays by name."""
    arrays = {name: np.ascontiguousarray(value) for name, value in arrays.items()}
    about = [[name, value.dtype.str, list(value.shape)] for name, value in arrays.items()]
    stream.write(json.dumps([head, about]).encode() + b"\n")
    for value in arrays.values():
        stream.write(value.tobytes())
    stream.flush()


def receive(stream: IO[bytes]) -> tuple[Head, Arrays]:
    """The next frame: its head and its arrays; raises EOFError if there is none, or only part of one."""
    line = stream.readline()
    if not line.endswith(b"\n"):
        raise EOFError
    head, about = json.loads(line)
    arrays: Arrays = {}
    for name, dtype, shape in about:
        size = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
        held = stream.read(size)
        if len(held) < size:
            raise EOFError
        arrays[name] = np.frombuffer(held, dtype).reshape(shape)
    return head, arrays


def parts(starts: NDArray[np.integer]) -> Iterator[tuple[int, int]]:
    """Conversations in parts (first, end) of at most `PART_TOKENS` tokens, but at least one each."""
    first = 0
    while first < len(starts) - 1:
        end = max(first + 1, int(np.searchsorted(starts, starts[first] + PART_TOKENS, side="right")) - 1)
        yield first, end
        first = end


def entries(
    flat: Flat, rows: NDArray[np.integer]
) -> tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.int64]]:
    """The entries of some places in a ``FlatLogprobs``: ids, log-probabilities, how many of each row."""
    begin, end = np.asarray(flat.start_indices)[rows], np.asarray(flat.end_indices)[rows]
    counts = end - begin
    at = np.repeat(begin - np.concatenate([[0], np.cumsum(counts)[:-1]]), counts) + np.arange(counts.sum())
    return np.asarray(flat.token_ids, np.int64)[at], np.asarray(flat.logprobs, np.float32)[at], counts


def answer(
    llm: Engine, settings: object, asked: Mapping[str, NDArray[np.integer]]
) -> Iterator[tuple[Head, Arrays]]:
    """The answers to a frame of conversations, part by part: a head and arrays."""
    ids, starts, rows, offsets = (asked[name] for name in ("input_ids", "starts", "rows", "offsets"))
    for first, end in parts(starts):
        prompts = [ids[starts[c] : starts[c + 1]].tolist() for c in range(first, end)]
        made = llm.generate([{"prompt_token_ids": one} for one in prompts], settings, use_tqdm=False)
        found = []
        for c, prompt, one in zip(range(first, end), prompts, made, strict=True):
            if list(one.prompt_token_ids) != prompt or len(one.prompt_logprobs.start_indices) != len(prompt):
                raise ValueError("vLLM answers with other tokens than it was given")
            found.append(entries(one.prompt_logprobs, rows[offsets[c] : offsets[c + 1]]))
        names = ("ids", "logprobs", "counts")
        columns = zip(names, zip(*found, strict=True), strict=True)
        yield {"conversations": end - first}, {name: np.concatenate(held) for name, held in columns}


def end_with(parent: int) -> None:
    """Wait until the parent has ended, then end this process and those that vLLM started."""
    while os.getppid() == parent:
        time.sleep(0.5)
    kill_all()


def kill_all() -> None:
    """End this process and those that vLLM started."""
    os.killpg(os.getpgid(0), signal.SIGKILL)


def main() -> None:
    """Open the model and answer until a frame asks for the end.

    If stdin ends earlier, the process that started this one is gone.
    """
    parent = os.getppid()
    source, sink = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)
    threading.Thread(target=end_with, args=(parent,), daemon=True).start()
    try:
        head, _ = receive(source)
        import vllm

        llm = vllm.LLM(**head["engine"])  # type: ignore[arg-type]
        settings = vllm.SamplingParams(
            temperature=0.0,
            max_tokens=1,
            prompt_logprobs=head["k"],
            flat_logprobs=True,
            detokenize=False,
        )
        send(sink, {"version": str(vllm.__version__)}, {})
        while True:
            head, asked = receive(source)
            if head.get("end"):
                return
            for part, arrays in answer(llm, settings, asked):  # type: ignore[arg-type]
                send(sink, part, arrays)
    except (EOFError, BrokenPipeError):
        kill_all()
    except Exception as error:
        traceback.print_exc()  # before the frame, so that it is in the log when the log is read
        send(sink, {"error": f"{type(error).__name__}: {error}"}, {})
        sys.exit(1)


if __name__ == "__main__":
    main()
