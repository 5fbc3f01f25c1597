"""The figures of a run's stages, from captures to time."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from fusionchat.evaluate.statistics import Estimate


@dataclass(frozen=True)
class Captured:
    """What captured one model, the result of its probe, and how peaked it is.

    Attributes:
        label: The model's name.
        backend: The program, with its version.
        dtype: The dtype that it computed in.
        tokens: Supervised tokens.
        bits_per_byte: Of the training text, by the model itself.
        differs: Nats by which the text's own tokens differ from plain transformers on the probe, on average
            and at most; None if transformers could not score it.
        unchecked: Why it could not.
        tokens_per_second: All tokens of the text; None if the process that finished the capture scored none.
        domains: Bits per byte of each domain of the training text.
        k: Tokens kept of a distribution.
        mass_kept: Mean probability mass of these.
        sampled_rows: Rows whose full softmax was measured, for the following figures; 0 for a backend without
            it.
        entropy: Their mean entropy in bits.
        k99_median, k99_p95: Number of tokens with 99 % of the mass: the median, and the 95th percentile.
        halved: Shards that ran out of memory and were made with smaller batches.
    """

    label: str
    backend: str
    dtype: str
    tokens: int
    bits_per_byte: float
    differs: tuple[float, float] | None = None
    unchecked: str = ""
    tokens_per_second: float | None = None
    domains: Mapping[str, float] = field(default_factory=dict)
    k: int = 0
    mass_kept: float | None = None
    sampled_rows: int = 0
    entropy: float | None = None
    k99_median: int | None = None
    k99_p95: int | None = None
    halved: int = 0


@dataclass(frozen=True)
class Pair:
    """How one source was aligned to the pivot; shares are of the pivot's supervised tokens.

    Attributes:
        label: The source's name.
        rows: Supervised tokens.
        exact: Share with the same context on both sides.
        inside: Share whose context ends inside a source token.
        unaligned: Share without a distribution.
        mass_kept: Mean probability mass on the pivot's kept tokens, over the aligned rows (the cut to k
            included).
        retention: Bits per byte before alignment divided by those after, on the aligned rows; 1 = nothing
            lost, None if unknown.
        map_retention: The same without the observed path: what the vocabulary map alone keeps.
        seconds: Wall time of the alignment.
        method: How the vocabularies were mapped.
    """

    label: str
    rows: int
    exact: float
    inside: float
    unaligned: float
    mass_kept: float
    retention: float | None
    seconds: float
    method: str = ""
    map_retention: float | None = None


@dataclass(frozen=True)
class Choice:
    """Which model's distributions one fusion chose.

    Attributes:
        label: The target made from it.
        rule: The fusion rule.
        models: The models among which it chose.
        won: For each domain, the share of a conversation's supervised tokens whose distribution came from
            each model (its weight, if the rule mixes), averaged over conversations, in the order of
            ``models``.
        fallback: Share of the supervised tokens where an unaligned row fell back to the pivot's distribution.
    """

    label: str
    rule: str
    models: tuple[str, ...]
    won: Mapping[str, tuple[float, ...]]
    fallback: float = 0.0


@dataclass(frozen=True)
class CorpusEntry:
    """What became of an entry of the corpus, before the parts are compared and templates applied.

    Attributes:
        label: Its path in the recipe and its name.
        records: The number of its records, as far as they were counted.
        used: The number of conversations that it contributes.
        rejected: The number of records that could not be used.
        left: How many records the entry's own settings leave out, by reason; None if the number is unknown.
    """

    label: str
    records: int
    used: int
    rejected: int
    left: Mapping[str, int | None]


@dataclass(frozen=True)
class Reject:
    """Records that could not be used: where, why, and how many of how many."""

    where: str
    reason: str
    count: int
    of: int


@dataclass(frozen=True)
class MergeWeights:
    """The weight of each target in each module of each layer.

    Attributes:
        label: The merge.
        method: Its method.
        targets: The targets merged.
        layers: Column names; "" for modules outside the layers.
        modules: Row names.
        weights: [targets][modules][layers], None if a layer has no such module.
    """

    label: str
    method: str
    targets: tuple[str, ...]
    layers: tuple[str, ...]
    modules: tuple[str, ...]
    weights: tuple[tuple[tuple[float | None, ...], ...], ...]


@dataclass(frozen=True)
class MergedTensor:
    """The figures of one tensor's merge.

    ``weights``, ``rms``, ``kept`` and ``ties`` have one entry per target, if known.

    Attributes:
        name: Its name.
        weights: Each target's weight.
        rms: Root mean square change of each target against the pivot.
        cosine: Between the changes of each pair of targets; None if one is 0.
        conflicts: Share of elements that one target raises and another lowers.
        change_rms: Root mean square change of the fused tensor.
        rounding_loss: Root mean square rounding error over that.
        kept: Share of each target's elements that took part.
        ties: Elements of each target on a selection's threshold.
    """

    name: str
    weights: tuple[float, ...]
    rms: tuple[float, ...]
    cosine: tuple[float | None, ...]
    conflicts: float
    change_rms: float
    rounding_loss: float
    kept: tuple[float, ...] = ()
    ties: tuple[int, ...] = ()


@dataclass(frozen=True)
class MergeFile:
    """A weight file that the fused model's merge read or wrote.

    Attributes:
        model: The input that it belongs to, or "fused model".
        name: Its name.
        bytes: Its size.
        sha256: Its SHA-256; empty if it was not computed.
        source: Where the SHA-256 comes from.
    """

    model: str
    name: str
    bytes: int
    sha256: str = ""
    source: str = ""


@dataclass(frozen=True)
class SweepPoint:
    """A label weight tried on the validation part, and its figure in the metric that a run is judged by."""

    label: str
    label_weight: float
    value: Estimate
    chosen: bool


@dataclass(frozen=True)
class MergeTrial:
    """A merge tried by the search: its settings in words, and its figure on validation.

    The figure is in the search's metric, and None if the merge could not be made or scored; ``reason`` says
    why.
    """

    label: str
    value: float | None
    seconds: float
    chosen: bool
    reason: str = ""


@dataclass(frozen=True)
class TrainingCourse:
    """The course of one training.

    Attributes:
        label: The model that it made.
        steps: The number of its steps.
        figures: By name (`fusionchat.distill.metrics`), steps with their values; for a long training, means
            over some steps.
        shares: The share of each model in the rows that were learnt.
    """

    label: str
    steps: int
    figures: Mapping[str, tuple[tuple[float, float], ...]]
    shares: Mapping[str, float]


@dataclass(frozen=True)
class StageTime:
    """Wall time of one job of the run."""

    stage: str
    job: str
    seconds: float


@dataclass(frozen=True)
class Span:
    """The work of one process on one job.

    Attributes:
        job: The job; with ``shards`` above 0, that number of its shards, made by a process that helped.
        node: The node of the process.
        process: Its pid there.
        attempt: Which attempt at the job it was, or the last one at these shards.
        began: Unix time.
        seconds: How long it took.
        shards: The number of shards; 0 for the job itself.
    """

    job: str
    node: str
    process: int
    attempt: int
    began: float
    seconds: float
    shards: int = 0
