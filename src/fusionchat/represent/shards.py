# N rows of a shard, K kept tokens
"""Shards: `TopK` of a fixed range of conversations in one safetensors file (mmap, no pickle), written atomically.

A shard does not repeat which tokens its rows are of: whoever reads it has the model's `SupervisedTokens`.
"""

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fusionchat.arrays import Arrays, map_arrays, save_arrays, shapes_in
from fusionchat.corpus.supervised import SupervisedTokens
from fusionchat.errors import DamagedError
from fusionchat.represent.topk import Scored, TopK

SHARD_CONVERSATIONS = 256
SHARDS = "shard-*.safetensors"
LABEL_LOGPROB = "label_logprob"
OTHER_ROWS = "This shard has other rows than its conversations"
NAMES = tuple(f.name for f in fields(TopK))


def shard_path(folder: Path, index: int) -> Path:
    """The file of shard ``index``."""
    return folder / f"shard-{index:05d}.safetensors"


def shard_count(conversations: int) -> int:
    """How many shards a number of conversations makes."""
    return -(-conversations // SHARD_CONVERSATIONS)


def shard_range(index: int, conversations: int) -> range:
    """The conversations of shard ``index``."""
    first = index * SHARD_CONVERSATIONS
    return range(first, min(first + SHARD_CONVERSATIONS, conversations))


def shard_tokens(tokens: SupervisedTokens, index: int) -> SupervisedTokens:
    """The supervised tokens whose rows are in shard ``index``, as views."""
    members = shard_range(index, tokens.conversations)
    return tokens.slice(members.start, members.stop)


def write_shard(path: Path, topk: TopK, extras: Mapping[str, NDArray[np.generic]] | None = None) -> None:
    """Write a shard; ``extras`` are further arrays with one entry a row."""
    save_arrays(path, {name: getattr(topk, name) for name in NAMES} | dict(extras or {}))


def read_shard(path: Path) -> tuple[TopK, Arrays]:
    """A shard and its extras, memory-mapped; raises DamagedError if it is not what was written."""
    arrays = map_arrays(path)
    try:
        return TopK(**{name: arrays.pop(name) for name in NAMES}), arrays  # type: ignore[arg-type]
    except (KeyError, AssertionError) as error:
        raise DamagedError(f"This shard is damaged: {error}", path=path, folder=path.parent) from error


def write_scored(path: Path, scored: Scored, extras: Mapping[str, NDArray[np.generic]] | None = None) -> None:
    """Write a shard with the labels' log-probabilities; the tokens are not repeated."""
    write_shard(path, scored.topk, {LABEL_LOGPROB: scored.label_logprob, **(extras or {})})


def read_scored(folder: Path, tokens: SupervisedTokens, index: int) -> Scored:
    """Shard ``index`` of a folder with the tokens that its rows are of.

    Args:
        folder: A capture's, or an alignment's.
        tokens: The supervised tokens of all conversations: the model's own, or the pivot's for an alignment.
        index: Of the shard.

    Raises:
        DamagedError: It is not what was written, or not of these tokens.
    """
    path, own = shard_path(folder, index), shard_tokens(tokens, index)
    topk, extras = read_shard(path)
    label_logprob = extras.get(LABEL_LOGPROB)
    if topk.rows != own.rows or label_logprob is None or label_logprob.shape != (own.rows,):
        raise DamagedError(OTHER_ROWS, path=path, folder=folder)
    return Scored(own, topk, label_logprob)


def shard_files(folder: Path) -> list[Path]:
    """The shards of a folder in order."""
    return sorted(folder.glob(SHARDS))


class StoredTopK:
    """The distributions of each conversation in a folder of shards; a shard is mapped when it is first asked for.

    What a process does not ask for, it does not read.

    Args:
        folder: A capture's, an alignment's or a fusion's.
        offsets: int64 [C + 1], rows of each conversation (`SupervisedTokens.offsets`).

    Raises:
        DamagedError: A shard is missing, damaged, or not of these conversations.
    """

    def __init__(self, folder: Path, offsets: NDArray[np.int64]) -> None:
        self.folder, self._offsets = folder, offsets.tolist()
        self._shards: dict[int, TopK] = {}
        for index in range(shard_count(len(offsets) - 1)):
            path, members = shard_path(folder, index), shard_range(index, len(offsets) - 1)
            held = shapes_in(path).get("ids", (0, 0))[0]
            if held != self._offsets[members.stop] - self._offsets[members.start]:
                raise DamagedError(OTHER_ROWS, path=path, folder=folder)

    def __getitem__(self, conversation: int) -> TopK:
        """The distributions of a conversation, as views."""
        index = conversation // SHARD_CONVERSATIONS
        if index not in self._shards:
            self._shards[index] = read_shard(shard_path(self.folder, index))[0]
        begin = self._offsets[index * SHARD_CONVERSATIONS]
        low, high = self._offsets[conversation] - begin, self._offsets[conversation + 1] - begin
        return self._shards[index].slice(low, high)
