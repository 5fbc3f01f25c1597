"""What a recipe makes: targets, trainings, merges, and the rows of the results."""

from collections.abc import Iterable
from typing import Literal, NamedTuple

from fusionchat.distill.seeds import seed_of, seed_of_round
from fusionchat.merge.methods import MergeMethod
from fusionchat.recipe.schema import Recipe
from fusionchat.represent.capture import DEFAULT
from fusionchat.stages.names import ALL, BEST, SELF, SFT, SOUP, Kind, Row, Trained, captured, distilled, fused


def targets(recipe: Recipe) -> dict[str, tuple[str, ...]]:
    """The targets with the sources of each: one target per source, and ``all`` if the recipe says so."""
    sources = tuple(recipe.sources)
    pairs = {name: (name,) for name in sources}
    return pairs | ({ALL: sources} if recipe.compare.all_sources else {})


class Training(NamedTuple):
    """One training of a copy of the pivot.

    Attributes:
        trained: What is trained; its name follows from it.
        seed: Determines the order of the conversations and every other random choice.
        learns: The job whose distributions it learns; None for the labels alone.
        label_weight: lambda.
    """

    trained: Trained
    seed: int
    learns: str | None = None
    label_weight: float = 1.0


def trainings(recipe: Recipe) -> list[Training]:
    """Every training in the order of the jobs: all of the first seed, then those of the next one."""
    teachers = {target: fused(target) for target in targets(recipe)}
    found = []
    for number in range(1, max(recipe.sft_seeds, recipe.distill.seeds) + 1):
        seed = seed_of(recipe.seed, number)
        if number <= recipe.sft_seeds:
            found.append(Training(Trained(base=SFT, number=number), seed))
        if number > recipe.distill.seeds:
            continue
        weights = [(weight, teachers) for weight in recipe.distill.label_weights]
        if recipe.compare.self_distillation:
            weights.append((recipe.distill.label_weight, {SELF: captured("pivot")}))
        for weight, learnt in weights:
            found += [
                Training(Trained(base=name, weight=weight, number=number), seed, job, weight)
                for name, job in learnt.items()
            ]
    return found + later_trainings(recipe)


def later_trainings(recipe: Recipe) -> list[Training]:
    """The trainings of later rounds: every target continues, at each label weight and with each seed."""
    return [
        Training(of, seed_of_round(seed_of(recipe.seed, number), turn), fused(name, of), weight)
        for turn in range(2, recipe.rounds.n + 1)
        for number in range(1, recipe.distill.seeds + 1)
        for weight in recipe.distill.label_weights
        for name in targets(recipe)
        for of in [Trained(base=name, weight=weight, number=number, round=turn)]
    ]


def adapted(recipe: Recipe) -> list[str]:
    """The models that are fine-tuned before their capture: sources, and the pivot if the recipe says so."""
    how = recipe.adapt
    if how is None:
        return []
    able = [name for name, spec in recipe.models.items() if spec.capture.backend == DEFAULT.backend]
    wanted = how.sources or tuple(recipe.sources)
    return [name for name in able if name in wanted or (name == "pivot" and how.pivot is not None)]


def merges(recipe: Recipe) -> dict[str, MergeMethod]:
    """The recipe's merge, then those it is compared with, by name; a repeated method gets a number."""
    named: dict[str, MergeMethod] = {}
    for method in (recipe.merge, *recipe.compare.merges):
        name, number = method.method, 2
        while name in named:
            name, number = f"{method.method}-{number}", number + 1
        named[name] = method
    return named


def main_merge(recipe: Recipe) -> str:
    """The name of the recipe's own merge."""
    return next(iter(merges(recipe)))


def targets_of(sources: Iterable[str], weight: float, number: int, turn: int = 1) -> dict[str, str]:
    """The jobs that train the targets of a label weight, seed and round, by source."""
    return {
        source: distilled(Trained(base=source, weight=weight, number=number, round=turn))
        for source in sources
    }


def opened_sources(recipe: Recipe) -> list[str]:
    """The sources whose weights the recipe loads on this machine; a server's cannot be evaluated."""
    return [name for name, spec in recipe.sources.items() if spec.capture.reads_weights]


def rows(recipe: Recipe) -> list[Row]:
    """Every model that is evaluated, in the order of the table; seeds of one model follow each other."""
    seeds = range(1, recipe.distill.seeds + 1)
    own = recipe.distill.label_weight
    found = [
        Row(kind="pivot", base="pivot"),
        *(Row(kind="source", base=name) for name in opened_sources(recipe)),
        *(Row(kind="adapted", base=name) for name in adapted(recipe)),
    ]
    found += [Row(kind="sft", base=SFT, number=number) for number in range(1, recipe.sft_seeds + 1)]
    found += [Row(kind="soup", base=SOUP)] if recipe.sft_seeds > 1 else []
    if recipe.compare.self_distillation:
        found += [Row(kind="self", base=SELF, weight=own, number=number) for number in seeds]
    weights: list[float | Literal["best"]] = [own, *([BEST] if recipe.distill.sweep else [])]
    for weight in weights:
        kinds: tuple[tuple[Kind, Iterable[str]], ...] = (
            ("target", targets(recipe)),
            ("merge", merges(recipe)),
        )
        for turn in range(1, recipe.rounds.n + 1):
            for kind, bases in kinds:
                found += [
                    Row(kind=kind, base=base, weight=weight, number=number, round=turn)
                    for base in bases
                    for number in seeds
                ]
    if recipe.search is not None:
        found += [Row(kind="merge", base="search", number=number) for number in seeds]
    return found
