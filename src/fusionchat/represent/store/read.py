# N rows, K kept tokens, C conversations
"""`DistributionStore`: distributions by conversation, from a folder or a URL."""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple, Protocol, overload

import numpy as np
from numpy.typing import NDArray

from fusionchat.corpus.supervised import SupervisedTokens
from fusionchat.represent.store.layout import LABEL_LOGPROB, Encoding, shard_path
from fusionchat.represent.store.shard import Shard
from fusionchat.represent.store.source import missing, sources
from fusionchat.represent.topk import Scored, TopK, widen

OTHER_ROWS = "its rows do not match its conversations"


class Piece(NamedTuple):
    """Rows of a shard."""

    shard: Shard
    low: int
    high: int


class Tokens(Protocol):
    """Supervised tokens of all conversations: `SupervisedTokens`, or the corpus's `StoredPart`."""

    def slice(self, first: int, last: int) -> SupervisedTokens:
        """The supervised tokens of the conversations first..last-1."""
        ...


class DistributionStore(Sequence[TopK]):
    """The distributions of each conversation of a capture, an alignment or a fusion.

        store = DistributionStore("runs/mine/represent/pivot")
        store[17].ids            # [N, K], of conversation 17
        store.slice(0, 1000)     # of the first thousand
        for members, topk in store.shards(): ...

    Opening it only lists its files. A shard's head is read when one of its conversations is asked for, and
    each block of about 64 KiB is compared with its checksum when this process first touches it. Arrays of a
    local file that are not compressed are views of the mapped file.

    Args:
        path: A folder with shards, or the URL of one that fsspec can read (``hf://datasets/...``,
            ``s3://...``).

    Raises:
        ArtifactError: There are no shards.
        DamagedError: A shard is missing; raised later where a shard that is read is not what was written.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = str(path)
        self._sources = sources(self.path)
        self._shards: dict[int, Shard] = {}

    def __len__(self) -> int:
        """C, the number of conversations."""
        return self.shard(0).about.conversations[2]

    @property
    def rows(self) -> int:
        """N, the number of rows."""
        return self.shard(0).about.rows[2]

    @property
    def size(self) -> int:
        """The size of its files in bytes."""
        return sum(source.size for source in self._sources)

    @property
    def k(self) -> int:
        """K, the most slots of a row."""
        return max(shard.k for shard in self._heads())

    @property
    def without(self) -> int:
        """How many rows have no distribution, from the column ``present``, which most stores lack."""
        return sum(shard.without for shard in self._heads())

    @property
    def encoding(self) -> Encoding:
        """How its distributions are stored."""
        return self.shard(0).about.encoding

    @property
    def ranges(self) -> list[range]:
        """The conversations of each shard."""
        return [range(*shard.about.conversations[:2]) for shard in self._heads()]

    @overload
    def __getitem__(self, conversation: int) -> TopK: ...

    @overload
    def __getitem__(self, conversation: slice) -> list[TopK]: ...

    def __getitem__(self, conversation: int | slice) -> TopK | list[TopK]:
        """The distributions of a conversation; of several, a list."""
        if isinstance(conversation, slice):
            return [self[index] for index in range(*conversation.indices(len(self)))]
        if not 0 <= conversation < len(self):
            raise IndexError(conversation)
        (piece,) = self._pieces(conversation, conversation + 1)
        return piece.shard.topk(piece.low, piece.high)

    def slice(self, first: int, last: int) -> TopK:
        """The distributions of the conversations first..last-1, one row after the other."""
        parts = [shard.topk(low, high) for shard, low, high in self._pieces(first, last)]
        if len(parts) == 1:
            return parts[0]
        if not parts:
            return self.shard(0).topk(0, 0)
        k = max(part.k for part in parts)
        wide = [widen(part, k) for part in parts]
        names = ("ids", "logprobs", "tail", "present")
        return TopK(*(np.concatenate([getattr(part, name) for part in wide]) for name in names))

    def column(self, name: str, first: int, last: int) -> NDArray[np.generic]:
        """A further column (``label_logprob``, ``kind`` ...) of the conversations first..last-1.

        KeyError if there is none.
        """
        parts = [shard.column(name, low, high) for shard, low, high in self._pieces(first, last)]
        if not parts:
            return self.shard(0).column(name, 0, 0)
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def scored(self, tokens: Tokens, first: int, last: int) -> Scored:
        """The conversations first..last-1 with the tokens of their rows; ids are int32.

        Args:
            tokens: The supervised tokens of all conversations: the model's own, or the pivot's for an
                alignment.
            first: The first conversation.
            last: The one after the last.

        Raises:
            DamagedError: A shard is not what was written, or not of these tokens.
        """
        own, topk = tokens.slice(first, last), self.slice(first, last)
        if topk.rows != own.rows:
            raise self._shard_of(first).source.damaged(OTHER_ROWS)
        label_logprob: NDArray[np.float32] = self.column(LABEL_LOGPROB, first, last)  # type: ignore[assignment]
        return Scored(own, replace(topk, ids=topk.ids.astype(np.int32, copy=False)), label_logprob)

    def require(self, offsets: NDArray[np.int64]) -> "DistributionStore":
        """This store, checked to have these rows in every conversation; reads the head of every shard.

        Args:
            offsets: int64 [C + 1], see `SupervisedTokens.offsets`.

        Raises:
            DamagedError: A shard is missing, damaged, or of other conversations.
        """
        at = 0
        for index in range(len(self._sources)):
            shard = self.shard(index)
            first, last, total = shard.about.conversations
            own = offsets[first : last + 1]
            if (first, total) != (at, len(offsets) - 1) or not np.array_equal(own - own[:1], shard.offsets):
                raise shard.source.damaged(OTHER_ROWS)
            at = last
        return self

    def shards(self) -> Iterator[tuple[range, TopK]]:
        """The distributions of all conversations, shard by shard."""
        for members in self.ranges:
            yield members, self.slice(members.start, members.stop)

    def _heads(self) -> Iterator[Shard]:
        return map(self.shard, range(len(self._sources)))

    def shard(self, index: int) -> Shard:
        """A shard; its head is read when it is first asked for."""
        if index not in self._shards:
            shard = Shard(self._sources[index])
            number, count = shard.about.shard
            if count > len(self._sources):
                raise missing(self._sources, shard_path(Path(), count - 1).name)
            others = next(iter(self._shards.values()), shard).about
            if (number, count) != (index, len(self._sources)) or shard.about.made_by != others.made_by:
                raise shard.source.damaged("it is of another store than the shards beside it")
            self._shards[index] = shard
        return self._shards[index]

    def _pieces(self, first: int, last: int) -> Iterator[Piece]:
        """The rows of the conversations first..last-1, shard by shard."""
        while first < last:
            shard = self._shard_of(first)
            begin, stop, _ = shard.about.conversations
            end = min(last, stop)
            yield Piece(shard, int(shard.offsets[first - begin]), int(shard.offsets[end - begin]))
            first = end

    def _shard_of(self, conversation: int) -> Shard:
        """The shard that a conversation is in; finding it reads the heads of a few."""
        places = range(len(self._sources))
        return self.shard(
            bisect_right(places, conversation, key=lambda i: self.shard(i).about.conversations[1])
        )
