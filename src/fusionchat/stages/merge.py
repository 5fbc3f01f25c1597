"""Stage `merge`: the targets of each label weight and seed become one model.

The best on validation is the fused model.

Only one of the first seed's merges is chosen and published. Those of other seeds, of rounds before the last,
and the soup of the SFT models, are for comparison.
"""

from collections.abc import Mapping
from itertools import product
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, TypeAdapter

from fusionchat.artifacts import Json
from fusionchat.console import progress
from fusionchat.merge.methods import MergeMethod
from fusionchat.merge.methods.linear import Linear
from fusionchat.merge.settings import AnyMerge, FusedSettings
from fusionchat.models.card import README
from fusionchat.run.estimate import merge_cost
from fusionchat.run.job import Context, Cost, Inputs, Summary
from fusionchat.run.plan import Run
from fusionchat.settings import Frozen
from fusionchat.stages.evaluate import add_row
from fusionchat.stages.fused_model import Finish, finish
from fusionchat.stages.merge_targets import merge_into, models_in, read_by_merges
from fusionchat.stages.names import SEARCH, SELECTION, SFT, SOUP, Row, Trained, distilled, evaluated, merged
from fusionchat.stages.search import Found, Search, merge_found, plan_search, search, trials_so_far
from fusionchat.stages.select_label_weight import Select, select
from fusionchat.stages.variants import main_merge, merges, targets_of

VERSION = 3  # raised when the same settings and inputs give another output


class Merge(Frozen):
    """Everything that changes a merge except the models.

    Attributes:
        merge: The method.
        fused: How the model is stored.
        targets: Name and job of each merged model, in the order of their weights.
    """

    kind: Literal["merge"] = "merge"
    merge: AnyMerge
    fused: FusedSettings
    targets: tuple[tuple[str, str], ...]


Settings = Annotated[Merge | Select | Search | Found | Finish, Field(discriminator="kind")]
_KINDS: TypeAdapter[Merge | Select | Search | Found | Finish] = TypeAdapter(Settings)


def settings_of(held: Mapping[str, Json]) -> Frozen:
    """The settings of a job from their JSON."""
    return _KINDS.validate_python(held)


def plan(run: Run) -> None:
    """Plan a merge for each label weight and method, the choice among label weights, and the fused model."""
    recipe = run.recipe
    weights, sources, last = recipe.distill.label_weights, tuple(recipe.sources), recipe.rounds.n
    for number in range(1, recipe.distill.seeds + 1):
        for weight, turn in product(weights, range(1, last + 1)):
            for name, method in merges(recipe).items():
                made = Trained(base=name, weight=weight, number=number, round=turn)
                plan_merge(run, made, method, targets_of(sources, weight, number, turn))
    if recipe.sft_seeds > 1:
        sft = [Trained(base=SFT, number=number) for number in range(1, recipe.sft_seeds + 1)]
        plan_merge(run, Trained(base=SOUP), Linear(), {str(one): distilled(one) for one in sft})
    own = main_merge(recipe)
    tried = (
        [Row(kind="merge", base=own, weight=weight, round=last) for weight in weights]
        if recipe.distill.sweep
        else []
    )
    for row in tried:
        add_row(run, "validation", row)
    run.add(
        "merge",
        "selection",
        Select(label_weights=weights, compared=own if tried else None, round=last),
        needs=tuple(evaluated("validation", row) for row in tried),
        cost=Cost(0.0, 0.0),
    )
    if recipe.search is not None:
        plan_search(run)
    run.add(
        "merge",
        "fused",
        Finish(merge=own, recipe=recipe),
        needs=(
            SELECTION,
            *(
                (SEARCH,)
                if recipe.search
                else (merged(Trained(base=own, weight=weight, round=last)) for weight in weights)
            ),
        ),
        cost=Cost(0.0, 0.0),
        rewritten=(README,),
    )


def plan_merge(run: Run, made: Trained, method: MergeMethod, targets: Mapping[str, str]) -> None:
    """Plan the merge of the models that some jobs train."""
    run.add(
        "merge",
        str(made),
        Merge(merge=method, fused=run.recipe.fused, targets=tuple(targets.items())),
        needs=tuple(targets.values()),
        content=read_by_merges(run, (method,)),
        cost=merge_cost(run.recipe, run.refs["pivot"]),
    )


def so_far(settings: Frozen, inputs: Inputs, out: Path) -> str:
    """The progress of an unfinished search; any other merge starts over."""
    return (
        trials_so_far(out / "trials", len(settings.search.candidates)) if isinstance(settings, Search) else ""
    )


def work(settings: Frozen, inputs: Inputs, out: Path, ctx: Context) -> Summary:
    """Make a merge, a choice, a search, or the fused model."""
    match settings:
        case Merge():
            return merge(settings, inputs, out, ctx)
        case Select():
            return select(settings, inputs, out)
        case Search():
            return search(settings, inputs, out, ctx)
        case Found():
            return merge_found(settings, inputs, out, ctx)
        case Finish():
            return finish(settings, inputs, out)
    raise AssertionError(f"no kind of merge: {settings!r}")


def merge(settings: Merge, inputs: Inputs, out: Path, ctx: Context) -> Summary:
    """Merge the models of some jobs into ``model/``."""
    targets = models_in({name: inputs.folder(job) for name, job in settings.targets})
    with progress(inputs.job.label, None, "bytes") as advance:
        merge_into(
            inputs.model("pivot"),
            targets,
            settings.merge,
            out,
            fused=settings.fused,
            runtime=ctx.runtime,
            advance=advance,
        )
    return {}
