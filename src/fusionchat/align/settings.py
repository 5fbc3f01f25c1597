"""Settings of the alignment; docs/alignment.md explains the rules. PURE."""

from dataclasses import dataclass, field
from typing import ClassVar, Literal

STRICT: dict[str, str] = {"extra": "forbid"}


@dataclass(frozen=True)
class BytePrefix:
    """A source token goes to a pivot token that is a byte prefix of it (the default).

    Of several prefixes, it is the one that the pivot's tokenizer most often writes there in the corpus, else
    the longest.

    tokenizer to write there, else the longest; the default.
    """

    method: Literal["byte_prefix"] = "byte_prefix"
    __pydantic_config__: ClassVar[dict[str, str]] = STRICT


@dataclass(frozen=True)
class Exact:
    """A source token goes to the pivot token with the same bytes, else to the tail (the papers' EM)."""

    method: Literal["exact"] = "exact"
    __pydantic_config__: ClassVar[dict[str, str]] = STRICT


@dataclass(frozen=True)
class MinEdit:
    """A source token goes to the pivot token at the least edit distance (the papers' MinED).

    Ties go to the lower id.
    """

    method: Literal["min_edit"] = "min_edit"
    __pydantic_config__: ClassVar[dict[str, str]] = STRICT


@dataclass(frozen=True)
class Statistics:
    """A source token goes to its most frequent partner at aligned positions (FuseChat's method).

    Ties go by edit distance; a token that never occurs is mapped as by `MinEdit`.
    """

    method: Literal["statistics"] = "statistics"
    __pydantic_config__: ClassVar[dict[str, str]] = STRICT


VocabularyMethod = BytePrefix | Exact | MinEdit | Statistics


@dataclass(frozen=True)
class AlignSettings:
    """How a source's distributions are carried over to the pivot.

    Attributes:
        positions: ``bytes``: by byte offsets; ``dtw``: by the papers' dynamic time warping over token strings.
        vocabulary: How the source's tokens are mapped.
        mid_token: Use rows whose context ends inside a source token, conditioned on the bytes seen.
        observed_path: Give the pivot's label at least its chain-rule probability under the source.
        min_mass: Least share of a conditioned distribution that is known; below it the row is unaligned.
        k: Slots of an output row, None for as many as the source has.
    """

    positions: Literal["bytes", "dtw"] = "bytes"
    vocabulary: VocabularyMethod = field(default_factory=BytePrefix)
    mid_token: bool = True
    observed_path: bool = True
    min_mass: float = 0.01
    k: int | None = None
    __pydantic_config__: ClassVar[dict[str, str]] = STRICT

    def __post_init__(self) -> None:
        if not 0.0 <= self.min_mass <= 1.0:
            raise ValueError(f"min_mass must be between 0 and 1, not {self.min_mass}")
        if self.k is not None and self.k < 1:
            raise ValueError(f"k must be at least 1, not {self.k}")
