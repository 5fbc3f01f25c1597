"""The verbs for the results of a run: `show`, `export`, `push`, `pull`."""

from pathlib import Path

import click

from fusionchat.units import counted


@click.command()
@click.argument("path")
@click.option(
    "--conversation",
    metavar="NUMBER|ID",
    help="Decode this conversation of a capture, alignment or fusion: each token with the most likely ones.",
)
def show(path: str, conversation: str | None) -> None:
    """Show what is in a run, a job's folder, a model or a file.

    PATH is a path, or the URL of a store that fsspec can read.
    """
    from fusionchat import console
    from fusionchat.stages.show import describe, show_conversation

    shown = describe(path) if conversation is None else show_conversation(path, conversation)
    console.say(shown.what, style="bold")
    wide = max(map(len, shown.facts), default=0)
    for name, value in shown.facts.items():
        console.say(f"  {name:{wide}}  {value}")
    for table in shown.tables:
        console.table(table.title, table.columns, table.rows)


@click.command()
@click.argument("run", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option(
    "--format",
    "form",
    type=click.Choice(["parquet", "distillkit"]),
    required=True,
    help="The program that will read the export.",
)
@click.option(
    "--job",
    "jobs",
    multiple=True,
    metavar="JOB",
    help="Job of represent, align or fuse to export; every job of fuse by default.",
)
@click.option(
    "--output", type=click.Path(path_type=Path, file_okay=False), default="export", show_default=True
)
def export(run: Path, form: str, jobs: tuple[str, ...], output: Path) -> None:
    """Export a run's distributions for other trainers.

    parquet: a list of tokens and log-probabilities for each supervised token. distillkit: Arcee's DistillKit, with a
    configuration. Each job gets a folder of its own.
    """
    from fusionchat import console
    from fusionchat.stages.export import export as write

    for done in write(run, form, output, jobs):
        without = f", {done.without:,} of them without a distribution" if done.without else ""
        console.say(
            f"{done.folder}: {counted(done.conversations, 'conversation')}, {done.rows:,} tokens{without}"
        )


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.argument("repo", metavar="OWNER/NAME")
@click.option("--public", is_flag=True, help="Make the data set public; it is private by default.")
def push(folder: Path, repo: str, public: bool) -> None:
    """Upload a job's distributions to the hub as a data set.

    FOLDER is that of a finished job of represent, align or fuse. The conversations themselves are not uploaded, but
    distributions reveal much of their text.
    """
    from fusionchat import console
    from fusionchat.represent.store.share import push as upload

    console.say(f"Pushed {folder} to {upload(folder, repo, private=not public)}")


@click.command()
@click.argument("repo", metavar="OWNER/NAME")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--revision", help="Branch, tag or commit.")
def pull(repo: str, folder: Path, revision: str | None) -> None:
    """Download a job's distributions from the hub.

    FOLDER must not exist yet. Inside a run, `fusionchat plan` then says whether it fits the recipe.
    """
    from fusionchat import console
    from fusionchat.represent.store.share import pull as download

    manifest = download(repo, folder, revision=revision)
    console.say(f"Pulled {repo} to {folder} (fingerprint {manifest.fingerprint[:12]})")
