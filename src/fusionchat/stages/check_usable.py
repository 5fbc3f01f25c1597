"""What each model can use of a sample of the corpus, and what its template and tokenizer do to it."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from fusionchat.align.preview import PairPreview
from fusionchat.errors import CorpusError

TOGETHER = "all models together"


class Usable(NamedTuple):
    """How many of ``of`` conversations a model can use, and why not the others, with numbers."""

    model: str
    used: int
    of: int
    reasons: dict[str, int]

    def __str__(self) -> str:
        why = ", ".join(f"{reason} ({count})" for reason, count in self.reasons.items())
        how_many = f"only {self.used}" if self.used else "none"
        return f"{self.model}: can use {how_many} of the {self.of} checked conversations: {why}"

    @property
    def few(self) -> bool:
        """Whether it is less than half, in which case `check` does not say that all is well."""
        return 2 * self.used < self.of


def usable(previews: Sequence[PairPreview]) -> list[Usable]:
    """What each model can use of the sample, for those that cannot use all."""
    found: dict[str, Usable] = {}
    for pair in previews:
        reasons: dict[str, Counter[str]] = {}
        first = {reject.cause: reject.example for reject in reversed(pair.rejects)}
        for reject in pair.rejects:
            reasons.setdefault(reject.model or pair.name, Counter())[first[reject.cause]] += 1
        for model, counts in reasons.items():
            used = pair.conversations - counts.total()
            if model not in found or used < found[model].used:
                found[model] = Usable(model, used, pair.conversations, dict(counts.most_common()))
    return [*found.values(), *together(previews, found)]


def together(previews: Sequence[PairPreview], each: Mapping[str, Usable]) -> list[Usable]:
    """What all models together can use, if less than each of them: a run keeps what every model can use."""
    causes = {reject.id: reject.cause for pair in previews for reject in pair.rejects}
    size = max((pair.conversations for pair in previews), default=0)
    used = size - len(causes)
    if not each or used in {model.used for model in each.values()}:
        return []
    return [Usable(TOGETHER, used, size, dict(Counter(causes.values()).most_common()))]


def notes(previews: Sequence[PairPreview]) -> dict[str, int]:
    """How many of the sample's conversations each peculiarity of a template or tokenizer affects."""
    found: dict[str, int] = {}
    for pair in previews:
        for note, count in pair.notes.items():
            found[note] = max(count, found.get(note, 0))
    return found


def require_usable(found: list[Usable]) -> None:
    """Raise CorpusError if a model can use nothing of the sample."""
    useless = [model for model in found if model.used == 0]
    if useless:
        raise CorpusError(
            "; ".join(map(str, useless)),
            where=", ".join(
                m.model if m.model in ("pivot", TOGETHER) else f"sources.{m.model}" for m in useless
            ),
            do="set another `template:` for it (`pivot` or a Jinja file that takes text), or leave it out",
        )
