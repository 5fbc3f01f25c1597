"""The demo's recipe, with its models and corpus prepared beside it."""

from functools import partial
from pathlib import Path

from fusionchat.artifacts import machine_errors, write_text
from fusionchat.console import progress

RUN = "demo"


def prepare(output: Path, *, seed: int, scale: float) -> Path:
    """Make (or find) the models and the corpus of the demo and write its recipe.

    Args:
        output: Folder of the runs; the demo's is ``output/demo``.
        seed: The seed of everything.
        scale: Scale of the corpus and the training; 1 is the full demo.

    Returns:
        The recipe's path.
    """
    from fusionchat.demo.make import make_demo

    folder = output / RUN
    with machine_errors(folder):
        make_demo(folder / "input", seed=seed, scale=scale, progress=partial(progress, unit="conversations"))
        recipe = (Path(__file__).parent / "recipe.yaml").read_text(encoding="utf-8")
        path = folder / "recipe.yaml"
        write_text(
            path, recipe.replace("output: runs", f"output: {output}").replace("seed: 0", f"seed: {seed}")
        )
    return path
