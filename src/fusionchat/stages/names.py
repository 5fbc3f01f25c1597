"""The names of jobs, and the types behind names that carry a label weight or a seed.

Nothing parses a name: what a job is about is in its settings. No source has the name of a model that is made
here, because the recipe refuses these names (`RESERVED` in `fusionchat.recipe.schema`).
"""

from typing import ClassVar, Literal

from fusionchat.distill.seeds import FIRST, nth
from fusionchat.settings import Grown
from fusionchat.units import weight_text

CORPUS = "corpus/corpus"
SELECTION = "merge/selection"
SEARCH = "merge/search"
FUSED = "merge/fused"
REPORT = "report/report"
SFT = "sft"
SELF = "pivot"
"""The target that learns from the pivot itself."""
ALL = "all"
"""The target of all sources at once."""
SOUP = "sft#soup"
"""The soup of SFT models; otherwise only the names of seeds have a '#'."""
BEST: Literal["best"] = "best"

Part = Literal["validation", "test"]
Kind = Literal["pivot", "source", "adapted", "sft", "soup", "self", "target", "merge"]
FOLDERS: dict[Kind, str] = {
    "source": "sources/",
    "adapted": "adapted/",
    "target": "targets/",
    "self": "targets/",
}
"""The folders of evaluations; sources and targets have their own, since one may share a merge's name."""
PUBLISHED: frozenset[Kind] = frozenset({"pivot", "source"})
TEACHERS = PUBLISHED | {"adapted"}
"""Rows with tokens and a template of their own; all others have the pivot's."""


class Trained(Grown):
    """A training of a copy of the pivot, or a merge of such: its base, label weight, seed and round.

    Attributes:
        base: The target's or the merge's name, or ``sft``.
        weight: The label weight; None if it has none.
        number: Which of those that differ only in their seeds.
        round: The round, counted from 1.
    """

    later: ClassVar[tuple[str, ...]] = ("round",)
    base: str
    weight: float | None = None
    number: int = FIRST
    round: int = 1

    def __str__(self) -> str:
        """``mixtral@0.9``, ``sft#2``, ``varm@0.9#3``, ``round2/mixtral@0.9``."""
        own = self.base if self.weight is None else f"{self.base}@{weight_text(self.weight)}"
        return in_round(nth(own, self.number), self.round)

    @property
    def before(self) -> "Trained":
        """The same in the round before, which a later round continues."""
        return self.model_copy(update={"round": self.round - 1})


def in_round(name: str, number: int) -> str:
    """The name of a job in a round; later rounds have a folder each."""
    return name if number == 1 else f"round{number}/{name}"


class Row(Grown):
    """A model that is evaluated: a row of the results.

    Attributes:
        kind: What it is.
        base: Its name without label weight and seed.
        weight: Its label weight; None if it has none, "best" if the sweep decides it.
        number: Which of the trainings that differ only in their seeds it is, or was merged from.
        round: The round of the training, or of those that it was merged from.
    """

    later: ClassVar[tuple[str, ...]] = ("round",)
    kind: Kind
    base: str
    weight: float | Literal["best"] | None = None
    number: int = FIRST
    round: int = 1

    @property
    def name(self) -> str:
        """The name of its evaluation."""
        if self.weight == BEST:
            own = in_round(nth(f"{self.base}@{BEST}", self.number), self.round)
            return f"{FOLDERS.get(self.kind, '')}{own}"
        return f"{FOLDERS.get(self.kind, '')}{self.at(self.weight)}"

    def at(self, weight: float | None) -> Trained:
        """The training or merge that makes it, at a label weight."""
        return Trained(base=self.base, weight=weight, number=self.number, round=self.round)

    def maker(self, weight: float | None) -> str:
        """The job that makes its model, at a label weight."""
        trained = self.at(weight)
        return distilled(trained) if self.kind in ("sft", "self", "target") else merged(trained)


def answered(of: Trained) -> str:
    """The job in which a target, as it was before a later round, answers for that round."""
    return f"answer/{of}"


def corpus_of(of: Trained | None) -> str:
    """The job whose training part is scored and learned: the corpus, or the answers of a later round."""
    return CORPUS if of is None else answered(of)


def captured(model: str, of: Trained | None = None) -> str:
    """The job that captures a model, over the corpus or for a later round of a target."""
    return f"represent/{model}" if of is None else f"represent/{of}/{model}"


def aligned(source: str, of: Trained | None = None) -> str:
    """The job that aligns a source to the pivot, likewise."""
    return f"align/{source}" if of is None else f"align/{of}/{source}"


def fused(target: str, of: Trained | None = None) -> str:
    """The job that fuses a target's distributions, likewise."""
    return f"fuse/{target}" if of is None else f"fuse/{of}"


def distilled(trained: Trained) -> str:
    """The job that trains a copy of the pivot."""
    return f"distill/{trained}"


def merged(trained: Trained) -> str:
    """The job of a merge."""
    return f"merge/{trained}"


def evaluated(part: Part, row: Row) -> str:
    """The job that evaluates a model on a part of the corpus."""
    return f"evaluate/{part}/{row.name}"
