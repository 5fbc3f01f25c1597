"""`make_demo`: the demo's corpus and models, made on demand."""

import os
import queue
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import IO, NamedTuple

from fusionchat.demo.parts import Part, making
from fusionchat.errors import MachineError
from fusionchat.units import counted

Advance = Callable[[int], None]
Progress = Callable[[str, int | None], AbstractContextManager[Advance]]

SMALL = 3000
"""The number of conversations in all below which the models are trained in this process.

Starting others would take longer.
"""


class DemoPaths(NamedTuple):
    """The paths of the demo's parts."""

    pivot: Path
    mixtral: Path
    qwen: Path
    train: Path
    validation: Path
    test: Path


def demo_paths(root: Path) -> DemoPaths:
    """The paths under ``root``, whether or not they exist."""
    models, corpus = root / "models", root / "corpus"
    return DemoPaths(
        models / "pivot", models / "mixtral", models / "qwen",
        corpus / "train.jsonl", corpus / "validation.jsonl", corpus / "test.jsonl",
    )  # fmt: skip


def make_demo(root: Path, *, seed: int = 0, scale: float = 1.0, progress: Progress) -> DemoPaths:
    """Make the missing parts of the demo under ``root``: three models and a corpus in three splits.

    Args:
        root: A folder; ``models/{pivot,mixtral,qwen}`` and ``corpus/{train,validation,test}.jsonl`` are
            written in it.
        seed: Determines the made-up world, the text and the initial weights.
        scale: Share of the full size, for tests.
        progress: Called with a label and a total; yields a function that takes each advance.

    Raises:
        MachineError: The folder cannot be written, or a worker was killed.
    """
    if not 0 < scale <= 1:
        raise ValueError(f"scale must be in (0, 1], not {scale}")
    corpus = Part(root, "corpus", seed, scale)
    if not corpus.is_made():
        with progress("write the chat corpus", None):
            _make_corpus(corpus)
    models = [Part(root, f"models/{name}", seed, scale) for name in ("pivot", "mixtral", "qwen")]
    missing = [part for part in models if not part.is_made()]
    if missing:
        _make_models(missing, progress)
    return demo_paths(root)


def _make_corpus(part: Part) -> None:
    from fusionchat.demo.corpus import fusion_corpus, write_corpus

    with making(part) as folder:
        write_corpus(folder, fusion_corpus(part.seed, part.scale))


def _make_models(parts: Sequence[Part], progress: Progress) -> None:
    from fusionchat.demo.models import make_model, schedule_of

    total = sum(schedule_of(part.path.name, part.scale).conversations for part in parts)
    with progress(f"train {counted(len(parts), 'tiny chat LLM')}", total) as advance:
        if total >= SMALL:
            _train_beside(parts, advance)
            return
        for part in parts:
            with making(part) as folder:
                make_model(folder, part.path.name, seed=part.seed, scale=part.scale, advance=advance)


def _train_beside(parts: Sequence[Part], advance: Advance) -> None:
    """Train the models in one process per core, with one thread each.

    Starting one takes as long as a fifth of a model's training.
    """
    told: queue.Queue[int | None] = queue.Queue()
    shares = share_out(parts, min(len(parts), os.cpu_count() or 1))
    with tempfile.TemporaryDirectory() as folder:
        logs = [Path(folder) / str(number) for number in range(len(shares))]
        workers = [_start(share, log) for share, log in zip(shares, logs, strict=True)]
        try:
            for worker in workers:
                threading.Thread(target=_listen, args=(worker.stdout, told), daemon=True).start()
            ends = 0
            while ends < len(workers):
                count = told.get()
                ends += count is None
                advance(count or 0)
            for share, worker, log in zip(shares, workers, logs, strict=True):
                _check(share, worker.wait(), log)
        finally:
            for worker in workers:
                worker.kill()
                worker.wait()


def share_out(parts: Sequence[Part], workers: int) -> list[list[Part]]:
    """The models of each worker: the longest training first, each to the worker with the least work."""
    from fusionchat.demo.models import schedule_of

    def work(part: Part) -> int:
        return schedule_of(part.path.name, part.scale).conversations

    shares: list[list[Part]] = [[] for _ in range(workers)]
    for part in sorted(parts, key=work, reverse=True):
        min(shares, key=lambda share: sum(map(work, share))).append(part)
    return shares


def _start(parts: Sequence[Part], log: Path) -> "subprocess.Popen[str]":
    first = parts[0]
    names = ",".join(part.path.name for part in parts)
    settings = [str(first.root), names, str(first.seed), str(first.scale)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
    with log.open("w") as errors:
        return subprocess.Popen(
            [sys.executable, "-m", "fusionchat.demo.worker", *settings],
            stdout=subprocess.PIPE, stderr=errors, text=True, env=environment,
        )  # fmt: skip


def _listen(pipe: IO[str], told: "queue.Queue[int | None]") -> None:
    for line in pipe:
        told.put(int(line))
    told.put(None)


def _check(parts: Sequence[Part], code: int, log: Path) -> None:
    """Raise the error of a worker."""
    said = log.read_text(encoding="utf-8", errors="replace")
    names = " and ".join(part.folder for part in parts)
    if code == MachineError.exit_code:
        raise MachineError(said, do="then run the same command again; finished parts are kept")
    if code < 0:
        raise MachineError(
            f"Training the demo's {names} was killed by signal {-code}",
            where=str(parts[0].root),
            do="free some memory and run the same command again; finished parts are kept",
        )
    if code:
        raise RuntimeError(f"training the demo's {names} failed:\n{said}")
