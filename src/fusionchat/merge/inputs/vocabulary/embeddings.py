"""Targets with a different number of vocabulary rows: added tokens, padding, or both.

Rows are matched by token, never by position alone: each tokenizer's own list says which row is which token.
Rows without a token (padding) are matched by position.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Float32, Int64

from fusionchat.artifacts import Json
from fusionchat.merge.inputs.plan import Source
from fusionchat.merge.inputs.vocabulary.files import Vocabulary

Embeddings = Literal["error", "pivot", "union", "rows"]
"""What to do if vocabularies differ: refuse, keep the pivot's, or add the targets' added tokens.

``rows`` does not compare them: the targets were trained from the pivot in this run, whatever its tokenizer in
the recipe.
"""


@dataclass(frozen=True)
class Rows:
    """A tensor whose rows come from other tensors, one by one.

    Attributes:
        source: The tensor that has the rows.
        row_R: For every row of this tensor its row in ``source``; -1 if it has none.
        fallback: The tensor for rows that ``source`` lacks.
    """

    source: Source
    row_R: Int64[np.ndarray, " R"]
    fallback: Source | None

    is_float = True

    @property
    def shape(self) -> tuple[int, ...]:
        """Its shape."""
        return (len(self.row_R), *self.source.shape[1:])

    @property
    def origin(self) -> str:
        """Where it comes from, for messages."""
        return self.source.origin

    def decode(self, begin: int, out_B: Float32[np.ndarray, " B"]) -> None:
        """Write the elements from ``begin`` on as float32, run of rows by run of rows."""
        width = int(np.prod(self.source.shape[1:], dtype=np.int64))
        at = begin
        while at < begin + out_B.size:
            row = at // width
            end = self._run_end(row, -(-(begin + out_B.size) // width))
            stop = min(end * width, begin + out_B.size)
            part = out_B[at - begin : stop - begin]
            inside = at - row * width
            if self.row_R[row] >= 0:
                self.source.decode(int(self.row_R[row]) * width + inside, part)
            else:
                assert self.fallback is not None, "a row without a source"
                self.fallback.decode(at, part)
            at = stop

    def _run_end(self, row: int, limit: int) -> int:
        """End of the run of consecutive rows of the same source."""
        step_R = np.diff(self.row_R[row:limit])
        missing = self.row_R[row] < 0
        breaks = np.flatnonzero(step_R != (0 if missing else 1))
        return row + 1 + int(breaks[0]) if breaks.size else limit

    def read_ahead(self, begin: int) -> None:
        """Do nothing, since rows are scattered."""

    def release(self) -> None:
        """Pass it on."""
        self.source.release()


@dataclass(frozen=True)
class Mean:
    """Rows averaged over the inputs that have them, as the pivot's for tokens that only targets have.

    Attributes:
        sources: Tensors of one shape.
        has_SR: Whether each source has each row.
    """

    sources: tuple[Source, ...]
    has_SR: np.ndarray

    is_float = True

    @property
    def shape(self) -> tuple[int, ...]:
        """The sources' shape."""
        return self.sources[0].shape

    @property
    def origin(self) -> str:
        """Where it comes from, for messages."""
        return self.sources[0].origin

    def decode(self, begin: int, out_B: Float32[np.ndarray, " B"]) -> None:
        """Write the elements from ``begin`` on as float32."""
        width = int(np.prod(self.shape[1:], dtype=np.int64))
        row_B = (begin + np.arange(out_B.size)) // width
        total_B, count_B = np.zeros(out_B.size), np.zeros(out_B.size)
        for source, has_R in zip(self.sources, self.has_SR, strict=True):
            here_B = has_R[row_B]
            if here_B.any():
                source.decode(begin, out_B)
                total_B += np.where(here_B, out_B, 0)
                count_B += here_B
        out_B[:] = total_B / np.maximum(count_B, 1)

    def read_ahead(self, begin: int) -> None:
        """Do nothing, since few rows are read."""

    def release(self) -> None:
        """Do nothing, since the sources are released by themselves."""


@dataclass(frozen=True)
class Alignment:
    """How the rows of pivot and targets match.

    Attributes:
        rows: Number of rows of the fused model.
        pivot_R: Row of the pivot for every row; -1 if only targets have it.
        target_JR: The same for every target.
        added: Entries of the tokens that are added to the fused tokenizer.
    """

    rows: int
    pivot_R: Int64[np.ndarray, " R"]
    target_JR: list[Int64[np.ndarray, " R"]]
    added: tuple[dict[str, Json], ...] = ()


def align_rows(
    pivot_rows: int,
    target_rows: Sequence[int],
    pivot: Vocabulary | None,
    targets: Sequence[Vocabulary | None],
    union: bool,
) -> Alignment:
    """The vocabulary rows of pivot and targets, matched by token.

    Raises:
        ValueError: A union needs tokenizers and there are none, or a target has new tokens that are not added
            tokens.
    """
    rows, added = pivot_rows, []
    ids = dict(pivot.ids) if pivot else {}
    if union:
        if pivot is None or any(target is None for target in targets):
            raise ValueError("a union of vocabularies needs a tokenizer.json in every folder")
        next_id = max(ids.values(), default=-1) + 1
        for target in targets:
            assert target is not None
            for text in sorted(set(target.ids) - set(ids), key=target.ids.__getitem__):
                if text not in target.added:
                    raise ValueError(
                        f"token {text!r} of a target is not an added token: the vocabularies differ"
                    )
                ids[text] = next_id
                added.append({**target.added[text], "id": next_id})
                next_id += 1
        rows = max(rows, next_id)
    pivot_R = np.where(np.arange(rows) < pivot_rows, np.arange(rows), -1)
    if added:
        pivot_R[[int(str(entry["id"])) for entry in added]] = -1
    target_JR = [
        _target_rows(rows, ids, count, target) for count, target in zip(target_rows, targets, strict=True)
    ]
    return Alignment(rows, pivot_R, target_JR, tuple(added))


def _target_rows(
    rows: int, ids: Mapping[str, int], count: int, target: Vocabulary | None
) -> Int64[np.ndarray, " R"]:
    row_R = np.where(np.arange(rows) < count, np.arange(rows), -1)
    if target is None or not ids:
        return row_R
    for row in ids.values():
        if row < rows:
            row_R[row] = -1
    taken = set(target.ids.values())
    for row in range(rows):  # padding: by position, unless the target has a token there
        if row_R[row] >= 0 and row in taken:
            row_R[row] = -1
    for text, row in ids.items():
        place = target.ids.get(text, -1)
        if row < rows and place < count:
            row_R[row] = place
    return row_R


def regather(alignment: Alignment, pivot: Source, targets: Sequence[Source]) -> tuple[Source, ...]:
    """Pivot and targets of one vocabulary tensor, row by row in the fused order."""
    shape = (alignment.rows, *pivot.shape[1:])
    base: Source = pivot
    if (alignment.pivot_R < 0).any():
        plain = tuple(
            Rows(t, np.maximum(r, 0), None) for t, r in zip(targets, alignment.target_JR, strict=True)
        )
        mean = Mean(plain, np.stack([row_R >= 0 for row_R in alignment.target_JR]))
        base = Rows(pivot, alignment.pivot_R, mean)
    gathered = [
        target
        if target.shape == shape and (row_R == np.arange(len(row_R))).all()
        else Rows(target, row_R, base)
        for target, row_R in zip(targets, alignment.target_JR, strict=True)
    ]
    return (base, *gathered)


def with_added(tokenizer: Path, added: Sequence[Mapping[str, Json]]) -> dict[str, Json]:
    """A ``tokenizer.json`` with more added tokens."""
    values: dict[str, Json] = json.loads(tokenizer.read_text(encoding="utf-8"))
    held = values.get("added_tokens")
    values["added_tokens"] = [*(held if isinstance(held, list) else []), *(dict(entry) for entry in added)]
    return values
