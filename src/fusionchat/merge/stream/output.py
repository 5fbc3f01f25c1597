"""Writing the fused model in shards, hashed on the way, continued after a crash.

Until all shards are complete they are in the hidden folder ``.merge`` of the output folder, together with a
journal of the tensors that are safely on disk. Only then are they moved to the output folder; ``config.json``
comes after the weights, ``merge_weights.json`` last.
"""

import errno
import fcntl
import json
import os
import shutil
from bisect import bisect_right
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fusionchat.artifacts import Json, remove_partial, write_text
from fusionchat.errors import MachineError, MergeError
from fusionchat.merge.inputs.plan import Dtype, Shard
from fusionchat.merge.stream.result import REPORT
from fusionchat.merge.stream.writer import Writer, hash_prefix
from fusionchat.units import size

WORK, JOURNAL, LOCK = ".merge", "journal.jsonl", "lock"
_OLD = ("model*.safetensors", "model.safetensors.index.json", "config.json", REPORT)


class Output:
    """A fused model that is being written.

    Args:
        out: The model folder.
        shards: The files to write.
        mark: Fingerprint of settings and inputs; work with another one is not continued.
        dtype: The dtype of the files.
        overwrite: Whether an existing model may be replaced.

    Raises:
        MergeError: The folder is not empty, or another process writes into it.
        MachineError: There is too little space on the disk.
    """

    def __init__(
        self, out: Path, shards: Sequence[Shard], mark: str, dtype: Dtype, *, overwrite: bool
    ) -> None:
        self.out, self.work, self.shards, self.mark, self.dtype = out, out / WORK, shards, mark, dtype
        ours = _mark(self.work) == mark
        if not (overwrite or ours):
            self._check_empty()
        self.entries: list[dict[str, Json]] = []
        self.files: dict[str, str] = {}
        self._existed = out.exists()
        self._shard, self._tensor = 0, 0
        self._writer: Writer | None = None
        self._ends: list[int] = []
        self._lock = self._journal = -1
        if not ours:
            self._check_room()
        self.work.mkdir(parents=True, exist_ok=True)
        try:
            self._begin()
        except BaseException:
            self.close()
            raise

    def _begin(self) -> None:
        """Lock the working folder, and continue the work in it, or clear it."""
        self._lock = self._take_lock()
        begun = _mark(self.work) == self.mark
        if begun:
            self._take_up(_read_journal(self.work / JOURNAL))
        else:
            for path in self.work.iterdir():
                if path.name != LOCK:
                    path.unlink()
        self._journal = os.open(self.work / JOURNAL, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        if not begun:
            self._note({"mark": self.mark}, sync=False)
        if self._shard < len(self.shards):
            self._open_shard()

    def _check_empty(self) -> None:
        """Raise MergeError if the folder has files that are not ours."""
        if any(next(self.out.glob(name), None) for name in _OLD):
            raise MergeError(
                "This folder already has a model",
                where=str(self.out),
                do="choose another, or --overwrite",
            )
        found = (
            [p.name for p in self.out.iterdir() if not p.name.startswith(".")] if self.out.is_dir() else []
        )
        if found:
            raise MergeError(
                f"This folder is not empty ({sorted(found)[0]})",
                where=str(self.out),
                do="choose another, or --overwrite",
            )

    def _take_lock(self) -> int:
        """Lock out other processes until this one ends; raises MergeError if one is at work."""
        handle = os.open(self.work / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(handle)
            raise MergeError(
                "Another merge is writing into this folder", where=str(self.out), do="wait for it, or stop it"
            ) from error
        return handle

    def _check_room(self) -> None:
        place = next(p for p in (self.out, *self.out.absolute().parents) if p.exists())
        need, free = sum(s.nbytes for s in self.shards), shutil.disk_usage(place).free
        if need > free:
            raise MachineError(
                f"The fused model needs {size(need)}, but only {size(free)} are free",
                where=str(self.out),
                do="free some space or choose another folder",
            )

    @property
    def finished(self) -> int:
        """The number of finished tensors, in order."""
        return len(self.entries)

    def _note(self, line: dict[str, Json], *, sync: bool) -> None:
        """Append a line to the journal in one write, because the writer's thread appends too."""
        text = f"{json.dumps(line)}\n".encode()
        if os.write(self._journal, text) < len(text):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.work / JOURNAL))
        if sync:
            os.fsync(self._journal)

    def _take_up(self, lines: list[dict[str, Json]]) -> None:
        """Continue where an interrupted merge's journal ends."""
        durable = max((int(n) for line in lines if isinstance(n := line.get("durable"), int)), default=0)
        entries: list[dict[str, Json]] = [
            entry for line in lines if isinstance(entry := line.get("tensor"), dict)
        ][:durable]
        at = 0
        for shard in self.shards:
            file = self.work / shard.file
            if (
                at + len(shard.jobs) > len(entries)
                or not file.is_file()
                or file.stat().st_size != shard.nbytes
            ):
                break
            at += len(shard.jobs)
            self.files[shard.file] = hash_prefix(file, shard.nbytes).hexdigest()
            self._shard += 1
        if self._shard < len(self.shards):
            shard = self.shards[self._shard]
            self._tensor = min(len(entries) - at, len(shard.jobs) - 1)
            need = len(shard.header) + sum(job.nbytes(self.dtype) for job in shard.jobs[: self._tensor])
            file = self.work / shard.file
            if not file.is_file() or file.stat().st_size < need:
                self._tensor = 0
            at += self._tensor
        self.entries = entries[:at]
        held: list[dict[str, Json]] = [{"mark": self.mark}]
        held += [{"tensor": entry} for entry in self.entries]
        held.append({"durable": at})
        write_text(self.work / JOURNAL, "".join(json.dumps(line) + "\n" for line in held))

    def _open_shard(self) -> None:
        """Begin the current shard, or continue after its finished tensors."""
        shard, before, ends = self.shards[self._shard], self.finished - self._tensor, []
        at = len(shard.header)
        for job in shard.jobs[: self._tensor]:
            at += job.nbytes(self.dtype)
            ends.append(at)

        def durable(size: int) -> None:
            self._note({"durable": before + bisect_right(ends, size)}, sync=True)

        self._ends = ends
        self._writer = Writer(self.work / shard.file, at if ends else 0, durable)
        if not ends:
            self._writer.write(np.frombuffer(shard.header, np.uint8))

    def write(self, values: np.ndarray) -> None:
        """Write the next values of the current tensor."""
        assert self._writer is not None, "write after the last tensor"
        self._writer.write(values)

    def end_tensor(self, entry: dict[str, Json]) -> None:
        """Record that the current tensor is complete, and its report."""
        assert self._writer is not None
        self.entries.append(entry)
        self._note({"tensor": entry}, sync=False)
        self._ends.append(self._writer.size)
        self._tensor += 1
        shard = self.shards[self._shard]
        if self._tensor < len(shard.jobs):
            return
        self.files[shard.file] = self._writer.finish()
        self._writer = None
        self._shard, self._tensor = self._shard + 1, 0
        self._note({"durable": len(self.entries)}, sync=self._shard < len(self.shards))
        if self._shard < len(self.shards):
            self._open_shard()

    def publish(self) -> None:
        """Move the complete shards into the model folder, replacing existing files."""
        assert self._shard == len(self.shards), "publish before the last tensor"
        for pattern in _OLD:
            for path in self.out.glob(pattern):
                path.unlink()
        for shard in self.shards:
            (self.work / shard.file).replace(
                self.out / shard.file
            )  # flushed to disk with the config that follows

    def finish(self) -> None:
        """Remove the working folder, the journal first."""
        (self.work / JOURNAL).unlink()
        sweep(self.out, self.mark)

    def close(self) -> None:
        """Stop, keeping the work for the next call."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None
        for handle in (self._journal, self._lock):
            if handle >= 0:
                os.close(handle)
        self._journal = self._lock = -1

    def abandon(self) -> None:
        """Stop and remove everything, since the inputs cannot be merged."""
        self.close()
        shutil.rmtree(self.work, ignore_errors=True)
        if not self._existed:
            self.out.rmdir()


def sweep(out: Path, mark: str) -> None:
    """Remove what a merge killed at its very end has left: working folder, and partial small files."""
    if _mark(out / WORK) in (None, mark):
        shutil.rmtree(out / WORK, ignore_errors=True)
    remove_partial(out)


def _mark(work: Path) -> Json:
    """The fingerprint of the merge that a working folder belongs to; None if it has no journal."""
    lines = _read_journal(work / JOURNAL)
    return lines[0].get("mark") if lines else None


def _read_journal(path: Path) -> list[dict[str, Json]]:
    lines: list[dict[str, Json]] = []
    if not path.is_file():
        return lines
    for text in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            line = json.loads(text)
        except ValueError:
            break
        if not isinstance(line, dict):
            break
        lines.append(line)
    return lines
