"""The verb `answer`: a corpus from prompts."""

from pathlib import Path

import click

from fusionchat.cli.options import with_recipe
from fusionchat.units import counted


@click.command()
@with_recipe
@click.option(
    "--model",
    required=True,
    metavar="MODEL",
    help="pivot, a source's name, target, fused, or a job that makes a model (distill/qwen@0.9).",
)
@click.option(
    "--prompts",
    required=True,
    metavar="FILE",
    help="A file or data set as corpus.train takes it; answers in it are dropped.",
)
@click.option(
    "--output", type=click.Path(path_type=Path, dir_okay=False), default="answers.jsonl", show_default=True
)
@click.option(
    "--temperature",
    default=1.0,
    type=click.FloatRange(min=0),
    show_default=True,
    help="Sampling temperature; 0 for the most likely token each time.",
)
@click.option(
    "--top-p",
    default=1.0,
    type=click.FloatRange(0, 1, min_open=True),
    show_default=True,
    help="Sample from the most likely tokens that together have this probability.",
)
@click.option(
    "--max-new-tokens",
    default=512,
    type=click.IntRange(min=1),
    show_default=True,
    help="Longest answer in tokens; longer ones are left out.",
)
@click.option(
    "--n",
    "samples",
    default=1,
    type=click.IntRange(min=1),
    show_default=True,
    help="Number of answers per prompt.",
)
@click.option("--seed", default=0, show_default=True)
@click.option(
    "--turns",
    type=click.Choice(["last", "each"]),
    default="last",
    show_default=True,
    help="Answer the last question of a dialogue, or each one after the model's own earlier answers.",
)
def answer(
    recipe: Path,
    settings: tuple[str, ...],
    *,
    model: str,
    prompts: str,
    output: Path,
    temperature: float,
    top_p: float,
    max_new_tokens: int,
    samples: int,
    seed: int,
    turns: str,
) -> None:
    """Answer prompts with a model; write the answers as a corpus.

    Run the same command again to continue after an interruption. The column `model` has the model's name.
    """
    from fusionchat import console
    from fusionchat.answer.settings import Sampling
    from fusionchat.cli.run_recipe import load
    from fusionchat.corpus.parts import count_words
    from fusionchat.stages.answer_file import write_answers

    sampling = Sampling(temperature=temperature, top_p=top_p, max_new_tokens=max_new_tokens, turns=turns)  # type: ignore[arg-type]
    done = write_answers(
        load(recipe, settings), model, prompts, output, sampling=sampling, samples=samples, seed=seed
    )
    console.say(f"Wrote {output}: {counted(done.answers, 'conversation')}")
    if done.cut:
        console.warn(f"{counted(done.cut, 'answer')} cut at {max_new_tokens} tokens and left out")
    if done.rejects:
        console.warn(f"prompts without an answer: {count_words(done.rejects)}")
