# C conversations, L tokens of all of them, N supervised tokens
"""A part of the corpus as one model sees it.

`RenderedPart` is in memory, `StoredPart` in the corpus stage's file.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import overload

import numpy as np
from numpy.typing import NDArray

from fusionchat.arrays import map_arrays, save_arrays
from fusionchat.corpus.compact import Compact, pack, unpack
from fusionchat.corpus.render import Rendered
from fusionchat.corpus.supervised import SupervisedTokens
from fusionchat.errors import DamagedError


class RenderedPart(Sequence[Rendered]):
    """The renderings of some conversations in flat arrays; each is a `Rendered` of views.

    Args:
        input_ids: int32 [L].
        starts: int64 [C + 1], ids of conversation c are starts[c]:starts[c + 1].
        places: int32 [N], index of each supervised token among its conversation's ids; `Rendered.rows`.
        supervised: The supervised tokens.
    """

    def __init__(
        self,
        input_ids: NDArray[np.int32],
        starts: NDArray[np.int64],
        places: NDArray[np.int32],
        supervised: SupervisedTokens,
    ) -> None:
        assert len(starts) == len(supervised.offsets), "the same conversations"
        assert starts[0] == 0 and starts[-1] == len(input_ids), "starts must cover all ids"
        assert len(places) == supervised.rows, "places must be [N]"
        self.input_ids, self.starts, self.places, self.supervised = input_ids, starts, places, supervised
        # As Python integers, since a training looks up millions of them one by one.
        self._starts, self._offsets = starts.tolist(), supervised.offsets.tolist()

    def __len__(self) -> int:
        """C, the number of conversations."""
        return len(self.starts) - 1

    @overload
    def __getitem__(self, index: int) -> Rendered: ...

    @overload
    def __getitem__(self, index: slice) -> "RenderedPart": ...

    def __getitem__(self, index: int | slice) -> "Rendered | RenderedPart":
        """A conversation, or a range of conversations, as views."""
        if isinstance(index, slice):
            first, last, step = index.indices(len(self))
            assert step == 1, "conversations that follow each other"
            return self._slice(first, max(first, last))
        if not 0 <= index < len(self):
            raise IndexError(index)
        rows = slice(self._offsets[index], self._offsets[index + 1])
        own = self.supervised
        return Rendered(
            self.input_ids[self._starts[index] : self._starts[index + 1]],
            self.places[rows],
            own.turn[rows],
            own.begin[rows],
            own.end[rows],
        )

    def _slice(self, first: int, last: int) -> "RenderedPart":
        low, high = self._starts[first], self._starts[last]
        rows = slice(self._offsets[first], self._offsets[last])
        return RenderedPart(
            self.input_ids[low:high],
            self.starts[first : last + 1] - low,
            self.places[rows],
            self.supervised.slice(first, last),
        )

    @property
    def offsets(self) -> NDArray[np.int64]:
        """Rows of conversation c are offsets[c]:offsets[c + 1], int64 [C + 1]."""
        return self.supervised.offsets

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Tokens of each conversation, int64 [C]."""
        return np.diff(self.starts)


class StoredPart(Sequence[Rendered]):
    """A part in about a byte per supervised token beside the ids; renderings are made on demand.

    The arrays are views of a mapped file: unused parts are not read and need no memory.

    Args:
        input_ids: uint16 or int32 [L].
        starts: int64 [C + 1], ids of conversation c are starts[c]:starts[c + 1].
        offsets: int64 [C + 1], rows of conversation c are offsets[c]:offsets[c + 1].
        compact: The places of the rows.
    """

    def __init__(
        self,
        input_ids: NDArray[np.uint16] | NDArray[np.int32],
        starts: NDArray[np.int64],
        offsets: NDArray[np.int64],
        compact: Compact,
    ) -> None:
        assert len(starts) == len(offsets), "the same conversations"
        assert starts[-1] == len(input_ids) and offsets[-1] == len(compact.sizes), "all ids and rows"
        self.input_ids, self.starts, self.offsets, self.compact = input_ids, starts, offsets, compact

    def __len__(self) -> int:
        """C, the number of conversations."""
        return len(self.starts) - 1

    @overload
    def __getitem__(self, index: int) -> Rendered: ...

    @overload
    def __getitem__(self, index: slice) -> RenderedPart: ...

    def __getitem__(self, index: int | slice) -> Rendered | RenderedPart:
        """A conversation, or a range of conversations."""
        if isinstance(index, slice):
            first, last, step = index.indices(len(self))
            assert step == 1, "conversations that follow each other"
            last = max(first, last)
            tokens, places, ids = self._made(first, last)
            return RenderedPart(ids, self.starts[first : last + 1] - self.starts[first], places, tokens)
        if not 0 <= index < len(self):
            raise IndexError(index)
        own = self.input_ids[self.starts[index] : self.starts[index + 1]]
        return Rendered(own.astype(np.int32), *unpack(self.compact, self.offsets, index, index + 1))

    def slice(self, first: int, last: int) -> SupervisedTokens:
        """The supervised tokens of the conversations first..last-1."""
        return self._made(first, last)[0]

    def _made(self, first: int, last: int) -> tuple[SupervisedTokens, NDArray[np.int32], NDArray[np.int32]]:
        """Supervised tokens, their places, and all ids of some conversations."""
        offsets = self.offsets[first : last + 1] - self.offsets[first]
        starts = self.starts[first : last + 1] - self.starts[first]
        ids = self.input_ids[self.starts[first] : self.starts[last]].astype(np.int32)
        places, turn, begin, end = unpack(self.compact, self.offsets, first, last)
        labels = ids[np.repeat(starts[:-1], np.diff(offsets)) + places]
        return SupervisedTokens(labels, turn, begin, end, offsets), places, ids

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Tokens of each conversation, int64 [C]."""
        return np.diff(self.starts)


def join(rendered: Sequence[Rendered]) -> RenderedPart:
    """Renderings as one part, in their order."""

    def flat(parts: Sequence[NDArray[np.int32]]) -> NDArray[np.int32]:
        return np.concatenate([np.zeros(0, np.int32), *parts]).astype(np.int32)

    def ends(parts: Sequence[NDArray[np.int32]]) -> NDArray[np.int64]:
        return np.cumsum([0, *map(len, parts)]).astype(np.int64)

    ids, rows = [r.input_ids for r in rendered], [r.rows for r in rendered]
    supervised = SupervisedTokens(
        labels=flat([r.input_ids[r.rows] for r in rendered]),
        turn=flat([r.turn for r in rendered]),
        begin=flat([r.begin for r in rendered]),
        end=flat([r.end for r in rendered]),
        offsets=ends(rows),
    )
    return RenderedPart(flat(ids), ends(ids), flat(rows), supervised)


def write_rendered(path: Path, part: RenderedPart) -> None:
    """Write a part to one file; labels are not written, since they are among the ids."""
    own = part.supervised
    compact = pack(part.places, own.turn, own.begin, own.end, own.offsets)
    small = int(part.input_ids.max(initial=0)) < 2**16 and int(part.input_ids.min(initial=0)) >= 0
    ids = part.input_ids.astype(np.uint16) if small else part.input_ids
    save_arrays(path, {"input_ids": ids, "starts": part.starts, "offsets": own.offsets, **compact._asdict()})


def read_rendered(path: Path) -> StoredPart:
    """What `write_rendered` wrote, memory-mapped; raises DamagedError if it is something else."""
    arrays = map_arrays(path)
    try:
        own = {name: arrays.pop(name) for name in ("input_ids", "starts", "offsets")}
        return StoredPart(**own, compact=Compact(**arrays))  # type: ignore[arg-type]
    except (KeyError, TypeError, AssertionError, IndexError) as error:
        raise DamagedError(f"This file is damaged: {error}", path=path, folder=path.parent) from error
