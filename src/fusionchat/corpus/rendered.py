# C conversations, L tokens of all of them, N supervised tokens
"""`RenderedPart`: a part of the corpus as one model sees it, made once by the corpus stage and read from then on."""

from collections.abc import Sequence
from pathlib import Path
from typing import overload

import numpy as np
from numpy.typing import NDArray

from fusionchat.arrays import map_arrays, save_arrays
from fusionchat.corpus.render import Rendered
from fusionchat.corpus.supervised import SupervisedTokens
from fusionchat.errors import DamagedError


class RenderedPart(Sequence[Rendered]):
    """The renderings of some conversations in flat arrays; each of them is a `Rendered` of views.

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
        # As Python's own integers: a training looks up millions of them one by one.
        self._starts, self._offsets = starts.tolist(), supervised.offsets.tolist()

    def __len__(self) -> int:
        """C, the number of conversations."""
        return len(self.starts) - 1

    @overload
    def __getitem__(self, index: int) -> Rendered: ...

    @overload
    def __getitem__(self, index: slice) -> "RenderedPart": ...

    def __getitem__(self, index: int | slice) -> "Rendered | RenderedPart":
        """A conversation, or conversations that follow each other, as views."""
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
    """Write a part to one file."""
    save_arrays(
        path,
        {"input_ids": part.input_ids, "starts": part.starts, "places": part.places, **vars(part.supervised)},
    )


def read_rendered(path: Path) -> RenderedPart:
    """Read what `write_rendered` wrote, memory-mapped; raises DamagedError if it is not that."""
    arrays = map_arrays(path)
    try:
        own = {name: arrays.pop(name) for name in ("input_ids", "starts", "places")}
        return RenderedPart(**own, supervised=SupervisedTokens(**arrays))  # type: ignore[arg-type]
    except (KeyError, TypeError, AssertionError) as error:
        raise DamagedError(f"This file is damaged: {error}", path=path, folder=path.parent) from error
