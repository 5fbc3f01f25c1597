"""The command line's verbs that take checkpoints: `merge`, with or without a recipe, and `fisher`."""

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

if TYPE_CHECKING:
    from fusionchat.merge.stream.planning import MergePlan

_FOLDER = Path(__file__).parents[1] / "merge" / "methods"
METHODS = tuple(
    sorted(
        name
        for path in _FOLDER.glob("*.py")
        for name in re.findall(r'^    method: Literal\["(\w+)"\]', path.read_text(encoding="utf-8"), re.M)
    )
)
"""`fusionchat.merge.methods.NAMES`, read from the files: importing them would load numpy."""


@click.command()
@click.argument("recipe", type=click.Path(path_type=Path), required=False)
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="KEY=VALUE",
    help="Override a setting of the recipe or the method.",
)
@click.option("--pivot", help="The checkpoint all targets were trained from: a folder or hub id.")
@click.option(
    "--target",
    "targets",
    multiple=True,
    help="A checkpoint or LoRA adapter to merge, [NAME=]PLACE; repeat for each target.",
)
@click.option(
    "--method",
    default="varm",
    show_default=True,
    help=f"One of {', '.join(METHODS)}; docs/merge_methods.md explains them.",
)
@click.option("--out", type=click.Path(path_type=Path), help="Folder of the merged model.")
@click.option(
    "--dtype",
    type=click.Choice(["float32", "bfloat16", "float16"]),
    help="Dtype of the merged model; by default the mergekit file's, else bfloat16.",
)
@click.option(
    "--embeddings",
    type=click.Choice(["error", "pivot", "union"]),
    help="What to do if a target has other tokens; by default what the mergekit file says, else error.",
)
@click.option(
    "--shard-gb",
    default=5.0,
    type=click.FloatRange(min=0, min_open=True),
    show_default=True,
    help="Largest weight file in GB.",
)
@click.option(
    "--threads",
    default=0,
    type=click.IntRange(min=0),
    show_default=True,
    help="Number of threads; 0 for all cores.",
)
@click.option(
    "--allow-pickle", is_flag=True, help="Read .bin checkpoints (weights only) if there are no safetensors."
)
@click.option(
    "--hash-inputs",
    is_flag=True,
    help="Record the SHA-256 of every input; inputs without a known checksum are read once more.",
)
@click.option("--overwrite", is_flag=True, help="Write into a folder that is not empty.")
@click.option("--dry-run", is_flag=True, help="Print the plan with sizes, time and memory; write nothing.")
@click.pass_context
def merge(
    ctx: click.Context, *, recipe: Path | None, settings: tuple[str, ...], pivot: str | None,
    targets: tuple[str, ...], method: str, out: Path | None, shard_gb: float, dry_run: bool, **options: Any,
) -> None:  # fmt: skip
    """Run up to the merges, or merge checkpoints without a recipe.

    Without a recipe, give a mergekit file, or a pivot and targets: checkpoints of one structure.

    \b
    fusionchat merge RECIPE.yaml
    fusionchat merge MERGEKIT.yaml --out DIR
    fusionchat merge --pivot P --target A --target B --method varm --set granularity=layer --out DIR
    """
    from fusionchat import console
    from fusionchat.errors import MergeError
    from fusionchat.merge import standalone
    from fusionchat.merge.mergekit.files import foreign, is_mergekit
    from fusionchat.recipe.schema import load_recipe, merge_method

    if recipe is not None and not recipe.is_file():
        raise MergeError(f"There is no such file: {recipe}", do="pass a recipe or a mergekit file")
    if recipe is not None and not is_mergekit(recipe):
        refusal = foreign(recipe)
        if refusal is not None:
            raise refusal
        load_recipe(
            recipe, settings
        )  # mistakes in the file are reported before options that a recipe does not take
        if dry_run:
            raise MergeError("--dry-run has no effect with a recipe", do=f"fusionchat plan {recipe}")
        refuse(ctx, "a recipe", [name for name in ctx.params if name not in ("recipe", "settings")])
        run_recipe(recipe, settings)
        return
    given = standalone.Settings(shard_bytes=int(shard_gb * 1e9), **options)
    plan: Callable[[], MergePlan]
    work: Callable[..., object]
    if recipe is not None:
        refuse(ctx, "a mergekit file", ["pivot", "targets", "method", "settings"])
        plan = partial(standalone.plan_mergekit, recipe, settings=given)
        work = partial(standalone.run_mergekit, recipe, settings=given)
    elif pivot is not None and len(targets) >= min(1, (chosen := merge_method(method, settings)).targets[0]):
        plan = partial(standalone.plan_standalone, pivot, targets, chosen, settings=given)
        work = partial(standalone.run_standalone, pivot, targets, chosen, settings=given)
    else:
        raise MergeError(
            "Nothing to merge: pass a recipe, a mergekit file, or --pivot and at least one --target",
            do="fusionchat merge --pivot P --target A --target B --out DIR",
        )
    if dry_run:
        show_plan(plan())
        return
    if out is None:
        raise MergeError("The merged model has no output folder", do="set it with --out")
    with console.progress("merge", None, "bytes") as advance:
        work(out, progress=advance)
    console.say(f"Merged: {out}")


def refuse(ctx: click.Context, kind: str, names: list[str]) -> None:
    """Raise MergeError if an option was given that has no effect together with ``kind``."""
    from fusionchat.errors import MergeError

    for option in ctx.command.params:
        if option.name in names and ctx.get_parameter_source(option.name) is ParameterSource.COMMANDLINE:
            raise MergeError(f"{option.opts[0]} has no effect with {kind}", do=f"remove it, or change {kind}")


def run_recipe(recipe: Path, settings: tuple[str, ...]) -> None:
    """Run a recipe up to its merges."""
    from fusionchat import console
    from fusionchat.cli.run_recipe import load, run_stage

    done = run_stage(load(recipe, settings), "merge")
    console.say(f"Done: {done.folder / 'merge' / 'fused' / 'model'}")


def show_plan(plan: "MergePlan") -> None:
    """Print a merge's plan."""
    from fusionchat import console
    from fusionchat.units import size

    rows = [(name.replace("_", " "), _said(value)) for name, value in plan.method.items()]
    rows += [
        ("tensors", f"{plan.tensors:,}"),
        ("parameters", f"{plan.parameters:,}"),
        ("inputs", size(plan.input_bytes)),
        *((file, size(count)) for file, count in plan.files.items()),
        ("written", size(plan.output_bytes)),
        ("looks at the inputs", str(plan.looks)),
        (
            "time",
            f"about {plan.seconds:.0f} s" if plan.seconds < 120 else f"about {plan.seconds / 60:.0f} min",
        ),
        ("memory", f"about {size(plan.memory_bytes)}"),
    ]
    console.table("Merge plan", ("", ""), rows)


def _said(value: Any) -> str:
    """A setting for a table: lists with commas, layer ranges as ``pivot 0 to 3``."""
    if isinstance(value, dict):
        return f"{value['model']} {' to '.join(map(str, value['layers']))}"
    if isinstance(value, list | tuple):
        return ", ".join(map(_said, value))
    return "default" if value is None else str(value)


@click.command()
@click.argument("model")
@click.argument("corpus")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Output folder.")
@click.option(
    "--examples",
    default=256,
    type=click.IntRange(min=1),
    show_default=True,
    help="Number of conversations to use, drawn at random.",
)
@click.option(
    "--max-tokens",
    default=2048,
    type=click.IntRange(min=8),
    show_default=True,
    help="Cut conversations to this many tokens.",
)
@click.option("--seed", default=0, show_default=True, help="Seed of the draw.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:N or mps.")
def fisher(
    *, model: str, corpus: str, out: Path, examples: int, max_tokens: int, seed: int, device: str
) -> None:
    """Compute the Fisher information that a Fisher merge needs.

    Writes the diagonal of the Fisher information of MODEL (a folder or hub id) on CORPUS (a file or hub dataset).

    \b
    fusionchat fisher A chats.jsonl --out A.fisher
    fusionchat fisher B chats.jsonl --out B.fisher
    fusionchat merge --pivot P --target A --target B --method fisher --set fisher=[A.fisher,B.fisher] --out DIR
    """
    from fusionchat import console
    from fusionchat.merge.fisher.information import describe, make_fisher

    made = make_fisher(model, corpus, out, examples=examples, max_tokens=max_tokens, seed=seed, device=device)
    console.say(f"Fisher information of {model}: {out} ({describe(made)})")
