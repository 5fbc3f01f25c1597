"""A mergekit file's settings as methods: by tensor, by slice and by depth."""

from collections.abc import Callable, Mapping

from fusionchat.errors import RecipeError
from fusionchat.merge.mergekit.kinds import Kind, Setting
from fusionchat.merge.mergekit.rules import Rule
from fusionchat.merge.mergekit.sources import Slice
from fusionchat.merge.methods import METHODS, MergeMethod
from fusionchat.merge.methods.checks import check_targets
from fusionchat.merge.methods.linear import Linear
from fusionchat.merge.methods.passthrough import Passthrough
from fusionchat.settings import meant

Build = Callable[[str, int | None, float], MergeMethod]
"""Makes settings for a tensor's name, the number of its slice and its depth there."""


def check_rules(kind: Kind, slices: list[Slice], shared: Mapping[str, Rule]) -> None:
    """Raise RecipeError if a setting is not one of the method's."""
    known = {*kind.each, *kind.shared, *kind.ignored}
    levels = [
        shared,
        *(part.rules for part in slices),
        *(source.rules for part in slices for source in part.sources),
    ]
    for level in levels:
        for setting, rule in level.items():
            if setting not in known:
                raise RecipeError(
                    f"This method has no setting {setting!r}{meant(setting, sorted(known))}",
                    where=rule.where,
                    do=f"use one of: {', '.join(sorted(known))}",
                )
            allowed = kind.ignored.get(setting)
            if allowed is not None and rule.at("", 0.0) not in allowed:
                raise RecipeError(
                    f"Only {setting}: {allowed[0]} is supported", where=rule.where, do="remove it"
                )


def targets_of(part: Slice, targets: list[str]) -> list[str]:
    """The targets that take part in a slice, in order; all of them if whole models are merged."""
    return [target for target in targets if target in part.models]


def builder(
    kind: Kind, slices: list[Slice], shared: Mapping[str, Rule], targets: list[str], based: bool
) -> Build:
    """A function that makes the method's settings for a tensor, a slice and a depth.

    They are for the targets of that slice; without a slice, for all targets with the first one's settings.
    """

    def build(tensor: str, number: int | None, t: float) -> MergeMethod:
        part = slices[number or 0]
        here = targets if number is None else targets_of(part, targets)
        if number is not None and _alone(kind, part):
            return Linear() if here else Passthrough()
        values = _values(kind, part, shared, targets=here, tensor=tensor, t=t)
        if kind.method in ("nuslerp", "multislerp"):
            values["origin"] = "pivot" if based else "zero"
        try:
            return METHODS[kind.method](**values)  # type: ignore[arg-type, return-value]
        except ValueError as error:
            raise RecipeError(
                f"The settings cannot be used for tensor {tensor or 'any'}: {error}", where="parameters"
            ) from error

    return build


def _alone(kind: Kind, part: Slice) -> bool:
    """Whether a slice has only one source, which is used unchanged because the method would mix it."""
    return part.layers > 0 and len(part.sources) == 1 and kind.method not in ("linear", "passthrough")


def _values(
    kind: Kind, part: Slice, shared: Mapping[str, Rule], *, targets: list[str], tensor: str, t: float
) -> dict[str, object]:
    """The method's settings for some targets.

    A model's own settings take precedence over the slice's, the file's and mergekit's defaults, in this
    order.
    """
    all_rules = [source.rules for source in part.sources]
    values: dict[str, object] = dict(kind.fixed)
    for theirs, mine in kind.shared.items():
        value = _look(kind, theirs, [*all_rules, part.rules, shared], tensor, t)
        if value is not None:
            values[mine] = int(value) if mine == "max_iter" else value
    for theirs, mine in kind.each.items():
        each = []
        for target in targets:
            own = [source.rules for source in part.sources if source.model == target]
            each.append(_look(kind, theirs, [*own, part.rules, shared], tensor, t))
        if any(value is not None for value in each):
            values[mine] = tuple(1.0 if value is None else float(value) for value in each)
    return values


def _look(
    kind: Kind, setting: str, levels: list[Mapping[str, Rule]], tensor: str, t: float
) -> Setting | None:
    for level in levels:
        value = level[setting].at(tensor, t) if setting in level else None
        if value is not None:
            return value
    return kind.defaults.get(setting)


def check_slices(slices: list[Slice], targets: list[str], build: Build) -> None:
    """Raise RecipeError if a slice has a number of models that the method does not take."""
    for number, part in enumerate(slices):
        try:
            check_targets(build("", number, 0.0), len(targets_of(part, targets)))
        except ValueError as error:
            raise RecipeError(
                str(error), where=f"slices.{number}.sources", do="add models, or remove some"
            ) from error
