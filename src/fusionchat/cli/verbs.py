"""The command line's verbs: each parses, loads the recipe, calls, and prints through `console`.

Nothing heavy is imported before a verb needs it, so that ``--help`` answers at once.
"""

import os
import sys
from pathlib import Path

import click

from fusionchat.cli.answer import answer
from fusionchat.cli.artifacts import export, pull, push, show
from fusionchat.cli.merge import fisher, merge
from fusionchat.cli.options import with_recipe
from fusionchat.cli.run_recipe import finish, load, run_one, run_stage
from fusionchat.units import counted
from fusionchat.version import __version__

HELP = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


class Verbs(click.Group):
    """Lists the verbs in the order of the work, not alphabetically."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Verbs in the order they were defined."""
        return list(self.commands)


@click.group(cls=Verbs, context_settings=HELP)
@click.version_option(__version__, prog_name="fusionchat")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def cli(debug: bool) -> None:
    """Fuse chat LLMs of different architecture, size and tokenizer into one.

    Start with `fusionchat demo`, or write a recipe with `fusionchat init`, check it with `check` and `plan`, and
    start it with `run`. A run that was stopped continues when you run the same command again.
    """


verify_option = click.option(
    "--verify", is_flag=True, help="Read every finished file and compare its checksum."
)


engine_option = click.option(
    "--engine",
    type=click.Choice(["local", "ray"]),
    help="What runs the jobs; overrides the recipe's runtime.engine.",
)


def with_engine(settings: tuple[str, ...], engine: str | None) -> tuple[str, ...]:
    """The settings with the engine that was asked for."""
    return settings if engine is None else (*settings, f"runtime.engine={engine}")


@cli.command()
@click.argument("path", type=click.Path(path_type=Path), default="recipe.yaml")
def init(path: Path) -> None:
    """Write a commented recipe to start from."""
    from fusionchat import console
    from fusionchat.artifacts import write_text
    from fusionchat.errors import RecipeError

    if path.exists():
        raise RecipeError(
            "This file already exists", where=str(path), do="choose another name: fusionchat init PATH"
        )
    write_text(path, (Path(__file__).parent / "starter.yaml").read_text(encoding="utf-8"))
    console.say(f"Wrote {path}. Fill in the models and the corpus, then: fusionchat check {path}")


@cli.command()
@with_recipe
@click.option(
    "--sample",
    default=200,
    type=click.IntRange(min=1),
    show_default=True,
    help="Number of conversations to check.",
)
def check(recipe: Path, settings: tuple[str, ...], sample: int) -> None:
    """Check models, tokenizers and corpus without reading weights."""
    from fusionchat.cli.show_check import show
    from fusionchat.stages.check import check as look
    from fusionchat.stages.check_usable import require_usable

    found = look(load(recipe, settings), sample=sample)
    show(found)
    require_usable(found.usable)


@cli.command()
@with_recipe
@click.option(
    "--commands",
    is_flag=True,
    help="Print a command for each job that will run, with its dependencies, for Slurm and similar schedulers.",
)
@engine_option
@click.option(
    "--devices",
    metavar="[NODESx][GPUSx]MEMORY",
    help="Check the jobs against these devices (such as 4x8x80GB) instead of this machine, and estimate the run's time.",
)
@click.option(
    "--assume",
    multiple=True,
    metavar="NAME=NUMBER",
    help="Size of a corpus or model that is not here: tokens=63e6, pivot=7e9.",
)
@click.option(
    "--tflops",
    type=click.FloatRange(min=0, min_open=True),
    help="Speed of one device in TFLOP/s; 125 by default.",
)
@verify_option
def plan(
    recipe: Path,
    settings: tuple[str, ...],
    *,
    commands: bool,
    engine: str | None,
    devices: str | None,
    assume: tuple[str, ...],
    tflops: float | None,
    verify: bool,
) -> None:
    """Show what is done, what is to do, and whether it fits.

    Finished files that are missing, resized or rewritten are found; --verify finds every change.
    """
    settings = with_engine(settings, engine)
    from fusionchat import console
    from fusionchat.cli.show_plan import commands as as_commands
    from fusionchat.cli.show_plan import in_all, show, show_verdict
    from fusionchat.cli.show_schedule import TFLOPS, schedule_lines
    from fusionchat.run.assumed import assuming, parse
    from fusionchat.run.auto import resolve
    from fusionchat.run.verdict import devices_of, verdicts
    from fusionchat.stages.check_models import openings
    from fusionchat.stages.pipeline import plan as make_plan

    loaded = load(recipe, settings)
    on = devices_of(devices, loaded.runtime.device, tflops or TFLOPS)
    with assuming(parse(assume, tuple(loaded.models))):
        opened = openings(
            loaded, loaded.refs()
        )  # models that cannot be loaded are refused before anything is shown
        planned = make_plan(loaded, verify=verify)
        todo = [job for job, status in planned if status.state != "done"]
        found = [] if commands else verdicts(todo, loaded, loaded.refs(), on)
    if commands:
        for line in as_commands(planned, recipe, settings):
            console.say(line)
        return
    length = in_all(found) if devices is not None else []
    if devices is not None and loaded.runtime.engine == "ray":
        length = schedule_lines(planned, on.machines, tflops or TFLOPS)
    show(planned, str(loaded.run_folder))
    if found:
        show_verdict(found, on)
    for line in (*length, *opened):
        console.say(line)
    resolved = resolve(loaded)
    if resolved.here:
        console.say(resolved.describe())
    for line in resolved.notices():
        console.warn(line)
    console.say(f"{len(todo)} of {counted(len(planned), 'job')} to run" if todo else "Everything is done.")


@cli.command()
@with_recipe
@click.option("--only", metavar="JOB", help="Run only this job; the jobs that it needs must be done.")
@engine_option
@verify_option
def run(recipe: Path, settings: tuple[str, ...], only: str | None, engine: str | None, verify: bool) -> None:
    """Run everything, corpus to report; finished work is kept."""
    settings = with_engine(settings, engine)
    if only is None:
        finish(load(recipe, settings), verify=verify)
    else:
        run_one(load(recipe, settings), only)


@cli.command()
@click.argument("run", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.argument("job", required=False)
@click.option(
    "--for-engine",
    is_flag=True,
    hidden=True,
    help="Read jobs from stdin, one per line; the caller holds their leases.",
)
@click.option("--as-rank", metavar="FINGERPRINT", hidden=True, help="Run as one rank of the job.")
def worker(run: Path, job: str | None, for_engine: bool, as_rank: str | None) -> None:
    """Make one job of a run, or help with its shards.

    RUN is the run's folder, JOB is STAGE/NAME. No recipe is read.
    """
    from fusionchat import console
    from fusionchat.run.worker import serve, serve_rank, work_alone
    from fusionchat.stages.pipeline import STAGES

    if for_engine:
        serve(run, STAGES)
    elif job is None:
        raise click.UsageError("Missing argument 'JOB': STAGE/NAME as `fusionchat plan` lists it.")
    elif as_rank is not None:
        raise click.exceptions.Exit(0 if serve_rank(run, job, as_rank, STAGES) else 1)
    else:
        console.say(f"{job}: {work_alone(run, job, STAGES).value}")


@cli.command()
@click.argument("run", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--watch", is_flag=True, help="Keep showing it until the run is done.")
def status(run: Path, watch: bool) -> None:
    """Show what a run is doing, from any machine.

    RUN is the run's folder. Each line says where a job runs or ran, which attempt it is, and how far it is.
    """
    from fusionchat.cli.show_status import follow, show

    (follow if watch else show)(run)


@cli.command("add-source")
@with_recipe
@click.option(
    "--source",
    required=True,
    metavar="NAME=MODEL",
    help="The new source: its name, and a folder (relative to the recipe) or hub id.",
)
@click.option("--template", default="own", show_default=True, help="own, pivot, or a Jinja file.")
def add_source(recipe: Path, settings: tuple[str, ...], source: str, template: str) -> None:
    """Add a source to a recipe and run it; finished work is kept.

    Only the new source is captured, aligned and distilled; then all targets are merged again.
    """
    from fusionchat import console
    from fusionchat.recipe.edit import insert_source

    name = insert_source(recipe, source, template, settings)
    console.say(f"Added {name} to {recipe}")
    finish(load(recipe, settings))


def stage_verb(stage: str, text: str) -> None:
    """Define the verb of one stage."""

    def verb(recipe: Path, settings: tuple[str, ...]) -> None:
        from fusionchat import console

        loaded = load(recipe, settings)
        if stage == "report":
            finish(loaded)
        elif stage == "evaluate":
            run_stage(loaded, stage)
            finish(loaded)
        else:
            console.say(f"Done: {run_stage(loaded, stage).folder / stage}")

    cli.command(stage, help=text)(with_recipe(verb))


stage_verb("represent", "Run up to the capture of every model's distributions.")
stage_verb("align", "Run up to the alignment of every source to the pivot.")
stage_verb("fuse", "Run up to the fused distributions of every target.")
stage_verb("distill", "Run up to the training of every target.")


cli.add_command(answer)
cli.add_command(merge)
cli.add_command(fisher)
stage_verb("evaluate", "Run up to the evaluation of every model; print the results.")
stage_verb("report", "Run everything and write the report.")


for artifact_verb in (show, export, push, pull):
    cli.add_command(artifact_verb)


@cli.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:N or mps.")
@click.option("--max-new-tokens", default=512, type=click.IntRange(min=1), show_default=True)
@click.option(
    "--temperature",
    default=0.7,
    type=click.FloatRange(min=0),
    show_default=True,
    help="0 for greedy answers.",
)
@click.option("--seed", type=int, default=None, help="Make the answers repeatable.")
def chat(model: Path, device: str, max_new_tokens: int, temperature: float, seed: int | None) -> None:
    """Chat with a model folder, or with the fused model of a run."""
    from fusionchat.chat.terminal import chat as talk

    talk(model, device=device, max_new_tokens=max_new_tokens, temperature=temperature, seed=seed)


@cli.command()
@click.option("--output", default="runs", show_default=True, help="Folder that holds the run.")
@click.option("--seed", default=0, show_default=True)
@click.option(
    "--scale",
    default=1.0,
    type=click.FloatRange(0, 1, min_open=True),
    show_default=True,
    help="Scale of the corpus and the training; 1 is the full demo.",
)
@click.option(
    "--set", "settings", multiple=True, metavar="PATH.TO.KEY=VALUE", help="Override a setting of the recipe."
)
def demo(output: str, seed: int, scale: float, settings: tuple[str, ...]) -> None:
    """Make three tiny chat LLMs and fuse them, in a few minutes."""
    from fusionchat import console
    from fusionchat.demo.prepare import prepare

    recipe = prepare(Path(output), seed=seed, scale=scale)
    finish(load(recipe, settings))
    console.say(
        "It knows only the eight domains of its corpus. Try: Play the dragon. What are you looking for?"
    )


def main() -> None:
    """The console script: errors and signals become one message and an exit code."""
    from fusionchat.cli.errors import catch_signals

    catch_signals()
    sys.exit(guarded(sys.argv[1:]))


def guarded(arguments: list[str]) -> int:
    """Run the command line; returns the exit code, 0 for success, else see `fusionchat.cli.errors`."""
    from fusionchat import console
    from fusionchat.cli.errors import StoppedError, explain
    from fusionchat.threads import wait_passively

    wait_passively()
    if int(os.environ.get("RANK") or 0):
        console.mute()  # rank 0 prints it
    debug = "--debug" in arguments
    try:
        cli.main([a for a in arguments if a != "--debug"], prog_name="fusionchat", standalone_mode=False)
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except (Exception, KeyboardInterrupt, StoppedError) as error:
        if debug:
            console.traceback()
        return explain(error, arguments)
    return 0
