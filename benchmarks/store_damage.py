"""200 single bytes changed in the files of finished jobs, over every kind of field: found by the ordinary reader, and made again.

A job is a capture in miniature: shards (plain, and 8-bit with zstd), a file beside them, a manifest. A change is found if the
reader says so: of a shard `DistributionStore`, of the other file `verified`, of a manifest `read_manifest`, for which the job is
then to do. What `fusionchat run` does next follows: the damaged file is removed (`discard`) or the folder begun again (`begin`),
the writer says which shards are missing, these are written, the job is finished. Then all files have their bits again, and no
other shard was written.
"""

import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from fusionchat import artifacts
from fusionchat.artifacts import MANIFEST, Manifest, begin, checksums, finish, read_manifest, write_text
from fusionchat.damage import discard, verified
from fusionchat.errors import DamagedError
from fusionchat.represent.store.cut import cut
from fusionchat.represent.store.layout import SHARDS, Encoding, header_end, shard_path
from fusionchat.represent.store.read import DistributionStore
from fusionchat.represent.store.shard import read_shard
from fusionchat.represent.store.write import StoreWriter
from fusionchat.represent.topk import Scored

MARK = "0123456789abcdef" * 4
NOTE = "notes.json"


class Field(NamedTuple):
    """Bytes [begin, end) of a file, and what is there."""

    path: Path
    kind: str
    begin: int
    end: int


class Outcome(NamedTuple):
    """Changes by kind of field: made, found, and made good to the bit."""

    made: Counter[str]
    found: Counter[str]
    mended: int


class MiniJob:
    """A finished job whose shards are of some rows."""

    def __init__(self, folder: Path, scored: Scored, encoding: Encoding) -> None:
        self.folder, self.scored = folder, scored
        offsets = scored.tokens.offsets
        self.writer = StoreWriter(folder, offsets, cut(offsets, scored.topk.rows // 3), encoding, MARK)
        self.work()

    def work(self) -> list[int]:
        """What a run does with a job that is to do; returns the shards that it had to write."""
        begin(self.folder, MARK, parts=SHARDS)
        missing = self.writer.keep_own()
        for index in missing:
            members = self.writer.ranges[index]
            self.writer.write_scored(index, self.scored.slice(members.start, members.stop))
        write_text(self.folder / NOTE, '{"note": "a file beside the shards"}\n')
        finish(self.folder, Manifest(MARK, {"k": self.scored.topk.k}, {}, checksums(self.folder)))
        return missing

    def read(self) -> bool:
        """Read all of it as the next job would; False where the manifest is not believed.

        Raises:
            DamagedError: A file is not what was written.
        """
        if read_manifest(self.folder) is None:
            return False
        verified(self.folder / NOTE)
        store = DistributionStore(self.folder).require(self.scored.tokens.offsets)
        for members in store.ranges:
            store.scored(self.scored.tokens, members.start, members.stop)
        return True

    def fields(self) -> Iterator[Field]:
        """Every kind of field of every file."""
        for index in range(len(self.writer.ranges)):
            path = shard_path(self.folder, index)
            data = path.read_bytes()
            end = header_end(data)
            text = data[8:end].rstrip(b" ")
            yield Field(path, "header length", 0, 8)
            yield Field(path, "header", 8, 8 + len(text))
            if 8 + len(text) < end:
                yield Field(path, "header padding", 8 + len(text), end)
            for tensor in read_shard(path)._head.tensors.values():
                yield Field(path, tensor.name, tensor.begin, tensor.end)
        for name in (MANIFEST, NOTE):
            yield Field(self.folder / name, name, 0, (self.folder / name).stat().st_size)


def corrupt(folder: Path, scored: Scored, times: int = 200) -> Outcome:
    """Change one byte ``times`` times and see what becomes of it; each kind of field has its turn."""
    rng, outcome, mended = random.Random(0), Outcome(Counter(), Counter(), 0), 0
    vocabulary = int(scored.topk.ids.max()) + 1
    encodings = {"plain": Encoding(vocabulary), "zstd": Encoding(2**17, "uint8", "zstd")}
    jobs = {name: MiniJob(folder / name, scored, encoding) for name, encoding in encodings.items()}
    good = {name: {p: p.read_bytes() for p in sorted(job.folder.iterdir())} for name, job in jobs.items()}
    kinds: dict[tuple[str, str], list[Field]] = {}
    for name, job in jobs.items():
        for field in job.fields():
            kinds.setdefault((name, field.kind), []).append(field)
    for turn in range(times):
        name, kind = list(kinds)[turn % len(kinds)]
        field, job = rng.choice(kinds[name, kind]), jobs[name]
        place, change = rng.randrange(field.begin, field.end), rng.randrange(1, 256)
        data = bytearray(good[name][field.path])
        data[place] ^= change
        field.path.write_bytes(data)
        artifacts._HASHED.clear()  # the reader is another process
        artifacts._MANIFESTS.clear()
        outcome.made[f"{kind}, {name}"] += 1
        written = None
        try:
            if not job.read():
                written = job.work()
        except DamagedError as error:
            discard(error, keep=SHARDS)
            written = job.work()
        if written is not None:
            outcome.found[f"{kind}, {name}"] += 1
            least = [int(field.path.stem[-5:])] if field.path.match(SHARDS) else []
            mended += written == least and all(path.read_bytes() == own for path, own in good[name].items())
        for path, own in good[name].items():
            path.write_bytes(own)
    return outcome._replace(mended=mended)
