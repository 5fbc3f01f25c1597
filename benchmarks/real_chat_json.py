r"""docs/results/real_chat.json: what the study's final run says, with what is needed to work its gains out again.

    python -m benchmarks.real_chat_json MODELS --work WORK [--rival gold=EVALUATION[,EVALUATION...]]... \
        --out docs/results/real_chat.json

WORK has the finished run of ``python -m benchmarks.real_chat final``. Each EVALUATION is a folder of
``benchmarks.real_chat_measure`` on the same dialogues: seeds of one rival are given with commas between.

Every row holds the bits of each test dialogue by seed, so that a gain and its error follow from the file alone
(`gain_over`, which tests/benchmarks/test_real_chat_json.py does). Gains are in bits per byte, positive where the fused model
is better; ``t`` is the number of standard errors to either side of a 95 % interval. Where only one side was trained several
times, its noise is taken for the other's, as in the report (docs/decisions/training_noise.md).
"""

import argparse
import json
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypedDict

import numpy as np

from benchmarks.real_chat import VARIANTS, Study, final_recipe
from fusionchat import console
from fusionchat.evaluate.noise import Gain, Gains, Side
from fusionchat.evaluate.scores import Items, Scores, read_scores
from fusionchat.evaluate.tasks import METRICS, PRIMARY
from fusionchat.recipe.schema import Recipe
from fusionchat.stages.corpus import read_tokens
from fusionchat.stages.names import CORPUS, Row, evaluated
from fusionchat.stages.pipeline import open_run
from fusionchat.stages.variants import main_merge, rows

OVER = ("sft", "soup", "pivot", "gold")
"""Kinds of rows, or rivals, that the fused model is held against."""


class Measured(TypedDict):
    """A model: bits of each dialogue for every seed."""

    model: str
    kind: str
    seeds: list[list[float]]
    fingerprints: list[str]


def side(row: Measured, noise_RC: np.ndarray | None, trainings: int) -> Side:
    """A side of a comparison; ``noise_RC`` has the seeds of the fused model or of SFT, ``trainings`` are SFT's."""
    runs_RC = np.array(row["seeds"])
    if row["kind"] in ("pivot", "source"):
        return Side(runs_RC.mean(0))
    if row["kind"] == "soup":  # at most as noisy as the mean of what it averages
        return Side(runs_RC.mean(0), 1 / trainings, noise_RC)
    return Side(runs_RC.mean(0), 1 / len(runs_RC), runs_RC if len(runs_RC) > 1 else noise_RC)


def gain_over(
    table: Sequence[Measured], fused: str, other: str, bytes_C: Sequence[int], domains: Sequence[str]
) -> Gains:
    """What the fused model gains over another row, by their names, in bits per byte."""
    named = {row["model"]: row for row in table}
    sft = named.get("SFT")
    noise_RC = None if sft is None or len(sft["seeds"]) < 2 else np.array(sft["seeds"])
    trainings = 1 if sft is None else len(sft["seeds"])
    ours, theirs = (side(named[name], noise_RC, trainings) for name in (fused, other))
    return PRIMARY.gains(ours, theirs, np.array(bytes_C), list(domains))


def as_json(gain: Gain) -> dict[str, float | bool | None]:
    """A gain for the file."""
    return {"value": gain.value, "se": gain.se, "t": gain.t, "clear": gain.is_clear}


def title(row: Row) -> str:
    """A row's name, whatever its seed."""
    plain = {"sft": "SFT", "soup": "SFT soup", "pivot": "pivot"}
    if row.kind in plain:
        return plain[row.kind]
    return f"{row.kind} {row.base}" if row.kind != "merge" else row.base


def read_rows(recipe: Recipe) -> tuple[list[Measured], Items]:
    """The rows of a finished run, and its dialogues."""
    planned = open_run(recipe)
    found: dict[str, Measured] = {}
    items: Items | None = None
    for row in rows(recipe):
        job = evaluated("test", row)
        assert planned.status(planned.jobs[job]).state == "done", f"{job} is not done"
        one = read_scores(planned.path(job)).items[PRIMARY.name]
        assert items is None or items.ids == one.ids, "rows have other dialogues"
        items = one
        held = found.setdefault(
            title(row), {"model": title(row), "kind": row.kind, "seeds": [], "fingerprints": []}
        )
        held["seeds"].append([round(float(bits), 4) for bits in one.values])
        held["fingerprints"].append(planned.jobs[job].fingerprint)
    assert items is not None
    return list(found.values()), items


def rival(given: str, items: Items) -> Measured:
    """NAME=EVALUATION[,EVALUATION...] as a row."""
    name, _, folders = given.partition("=")
    seeds = []
    for folder in folders.split(","):
        one = read_scores(Path(folder)).items[PRIMARY.name]
        assert one.ids == items.ids and (one.sizes == items.sizes).all(), f"{folder} has other dialogues"
        seeds.append([round(float(bits), 4) for bits in one.values])
    return {"model": name, "kind": "rival", "seeds": seeds, "fingerprints": []}


def task_gains(recipe: Recipe, fused: str) -> dict[str, dict[str, float | bool | None]]:
    """What the fused model gains over SFT in every other metric: means over items, in the metric's own unit."""
    planned, found = open_run(recipe), {}
    runs: dict[str, list[Scores]] = {}
    for row in rows(recipe):
        runs.setdefault(title(row), []).append(read_scores(planned.path(evaluated("test", row))))
    ours, sft = runs[fused], runs.get("SFT")
    if sft is None:
        return {}
    for metric in METRICS.values():
        if metric.name == PRIMARY.name or metric.name not in ours[0].items:
            continue
        values = [np.stack([one.items[metric.name].values for one in side]) for side in (ours, sft)]
        sides = [Side(v.mean(0), 1 / len(v), v if len(v) > 1 else None) for v in values]
        items = ours[0].items[metric.name]
        found[metric.name] = as_json(metric.gains(sides[0], sides[1], items.sizes, items.domains).overall)
    return found


def result(recipe: Recipe, rivals: Sequence[str], commit: str, train_tokens: int) -> Mapping[str, object]:
    """The object of the file."""
    table, items = read_rows(recipe)
    table += [rival(one, items) for one in rivals]
    fused = main_merge(recipe)
    bytes_C, domains = [int(size) for size in items.sizes], list(items.domains)
    names = {"sft": "SFT", "soup": "SFT soup", "pivot": "pivot", "gold": "gold"}
    gains = {
        over: gain_over(table, fused, names[over], bytes_C, domains)
        for over in OVER
        if any(row["model"] == names[over] for row in table)
    }
    return {
        "commit": commit,
        "fused": fused,
        "seeds": recipe.distill.seeds,
        "train_tokens": train_tokens,
        "variants": len(VARIANTS),
        "gain": {over: as_json(gain.overall) for over, gain in gains.items()},
        "domains": {
            name: {over: as_json(gain.domains[name]) for over, gain in gains.items()}
            for name in dict.fromkeys(domains)
        },
        "tasks": task_gains(recipe, fused),
        "dialogues": {"domains": domains, "bytes": bytes_C},
        "rows": table,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("models", type=Path)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--rival", action="append", default=[], metavar="NAME=EVALUATION[,...]")
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    recipe = final_recipe(Study(given.models, given.work.absolute()))
    commit = subprocess.run(
        ["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True
    ).stdout.strip()
    tokens = int(read_tokens(recipe.run_folder / CORPUS, "train", "pivot").offsets[-1])
    held = result(recipe, given.rival, commit, tokens)
    given.out.write_text(json.dumps(held) + "\n")
    console.say(
        json.dumps({key: held[key] for key in ("commit", "seeds", "train_tokens", "variants", "gain")})
    )


if __name__ == "__main__":
    main()
