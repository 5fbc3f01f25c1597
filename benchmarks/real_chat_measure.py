"""Bits per byte of any model folders on the dialogues that a run measures, and what one gains over another.

    python -m benchmarks.real_chat_measure RUN NAME=MODEL [NAME=MODEL ...] --out OUT [--beside NAME=EVALUATION ...]
    python -m benchmarks.real_chat_measure WORK/choose/base gold=OUT/labels-1e-4/model --out MEASURED \
        --beside qwen=WORK/choose/qwen/evaluate/test/targets/qwen@0.5

The models have the pivot's tokens and template: what others trained from it or merged. RUN is the folder of a run whose
corpus is made: its test part is read as the run's own evaluations read it, token by token (in the study's ``choose`` runs
these are the dialogues to choose by). Every model is measured by the recipe's settings in float32 and leaves
``OUT/NAME/scores.json``, one entry a dialogue; what is there is kept. ``--beside`` adds finished evaluations of runs.
Prints bits per byte by domain, and the gain of each over the first (paired, with its standard error over the dialogues
alone); the last line is JSON.
"""

import argparse
import json
from collections.abc import Mapping
from pathlib import Path

from fusionchat import console
from fusionchat.evaluate.measure import measure
from fusionchat.evaluate.noise import Gain, Side
from fusionchat.evaluate.scores import SCORES, Items, Scores, read_scores
from fusionchat.evaluate.settings import EvaluateSettings
from fusionchat.evaluate.tasks import PRIMARY
from fusionchat.models.ref import ModelRef
from fusionchat.runtime import RuntimeSettings
from fusionchat.stages.corpus import read_part, read_tokens
from fusionchat.stages.evaluate import subjects

SETTINGS = EvaluateSettings(dtype="float32")


def measure_folder(run: Path, name: str, model: Path, out: Path, device: str = "cpu") -> Scores:
    """The scores of a model folder on a run's test part, made once.

    Args:
        run: The run's folder.
        name: What the model is called.
        model: Its folder.
        out: Where ``scores.json`` is, or will be.
        device: As ``runtime.device`` of a recipe.
    """
    if (out / SCORES).is_file():
        return read_scores(out)
    corpus = run / "corpus/corpus"
    ref = ModelRef(name, str(model.absolute()), str(model.absolute()))
    conversations, tokens = read_part(corpus, "test"), read_tokens(corpus, "test", "pivot")
    opened = subjects(SETTINGS, conversations, tokens, ref, RuntimeSettings(device=device))
    out.mkdir(parents=True, exist_ok=True)
    return measure(opened(ref), SETTINGS.tasks, out, name)


def by_domain(scores: Scores) -> dict[str, float]:
    """Bits per byte of all dialogues and of each domain."""
    items = scores.items[PRIMARY.name]
    found = PRIMARY.breakdown(items.values, items.sizes, items.domains)
    return {"all": found.overall.value, **{name: one.value for name, one in found.domains.items()}}


def gain(model: Scores, baseline: Scores) -> Gain:
    """Bits per byte that a model saves over a baseline on the same dialogues; its errors know of no other seeds."""
    ours, theirs = model.items[PRIMARY.name], baseline.items[PRIMARY.name]
    assert same(ours, theirs), "the two were not measured on the same dialogues"
    return PRIMARY.gains(Side(ours.values), Side(theirs.values), ours.sizes, ours.domains).overall


def same(first: Items, second: Items) -> bool:
    """Whether two evaluations have the same dialogues with the same bytes."""
    return first.ids == second.ids and bool((first.sizes == second.sizes).all())


def show(found: Mapping[str, Scores]) -> dict[str, dict[str, float]]:
    """Print the table of all models, each with its gain over the first; the same as values."""
    first = next(iter(found))
    rows, gains = {}, {}
    for name, scores in found.items():
        one = gain(scores, found[first])
        rows[name] = by_domain(scores) | {"gain": one.value, "gain_se": one.sampling_se or 0.0}
        gains[name] = "" if name == first else f"{one.value:+.4f} ± {one.sampling_se or 0:.4f}"
    columns = [column for column in rows[first] if not column.startswith("gain")]
    console.table(
        "bits per byte",
        ("model", *columns, f"gain over {first}"),
        [(name, *(f"{held[column]:.4f}" for column in columns), gains[name]) for name, held in rows.items()],
    )
    return rows


def named(given: str) -> tuple[str, Path]:
    """NAME=FOLDER."""
    name, mark, folder = given.partition("=")
    if not (name and mark and folder):
        raise argparse.ArgumentTypeError(f"NAME=FOLDER is needed, not {given!r}")
    return name, Path(folder)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path)
    parser.add_argument("models", nargs="*", type=named, metavar="NAME=MODEL")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--beside", nargs="*", type=named, default=[], metavar="NAME=EVALUATION")
    parser.add_argument("--device", default="cpu")
    given = parser.parse_args()
    found = {name: read_scores(folder) for name, folder in given.beside}
    for name, model in given.models:
        found[name] = measure_folder(given.run, name, model, given.out / name, given.device)
    console.say(json.dumps(show(found)))


if __name__ == "__main__":
    main()
