r"""docs/results/real_chat.json: what the study's final run says, with what is needed to work its gains out again.

    python -m benchmarks.real_chat_json MODELS --work WORK --out docs/results/real_chat.json
    python -m benchmarks.real_chat_json --add [--rival gold=EVALUATION[,EVALUATION...]]... [--tasks TASKS] \
        --out docs/results/real_chat.json

WORK has the finished run of ``python -m benchmarks.real_chat final``. ``--add`` puts what was measured later into the file: each
EVALUATION is a folder of ``benchmarks.real_chat_measure`` on the same dialogues (seeds of one rival with commas between),
TASKS the folder of ``benchmarks.real_chat_tasks``.

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
from typing import Any, NamedTuple, TypedDict, cast

import numpy as np

from benchmarks.real_chat import ROOT, Study, final_recipe
from fusionchat import console
from fusionchat.evaluate.noise import Gain, Gains
from fusionchat.evaluate.power import detectable
from fusionchat.evaluate.scores import Items, Scores, read_scores
from fusionchat.evaluate.tasks import METRICS, PRIMARY
from fusionchat.recipe.schema import Recipe
from fusionchat.report.model import RowKind
from fusionchat.report.rows import Trained, gains
from fusionchat.stages.corpus import read_tokens
from fusionchat.stages.names import CORPUS, Row, evaluated
from fusionchat.stages.pipeline import open_run
from fusionchat.stages.variants import main_merge, rows

CHOOSING = ROOT / "docs/results/real_chat_choosing.json"
"""Every variant that was measured on the dialogues to choose by, as in the table of docs/results/real_chat.md."""
NAMES = {"sft": "SFT", "soup": "SFT soup"}
OVER = ("sft", "soup", "pivot", "gold", "self-distillation", "SFT two passes")
"""Kinds of rows, or rivals by name, that the fused model is held against."""


class Measured(TypedDict):
    """A model: bits of each dialogue for every seed."""

    model: str
    kind: str
    seeds: list[list[float]]
    fingerprints: list[str]


def gain_over(
    table: Sequence[Measured], fused: str, other: str, bytes_C: Sequence[int], domains: Sequence[str]
) -> Gains:
    """What the fused model gains over another row, by their names, in bits per byte, as the report has it."""
    taken = [row for row in table if row["model"] in ("SFT", fused, other)]
    models = {row["model"]: trained(row, bytes_C, domains) for row in taken}
    return gains([*models.values()], PRIMARY, fused, models[other].kind)[fused]


def trained(row: Measured, bytes_C: Sequence[int], domains: Sequence[str]) -> Trained:
    """A row as the report compares it; a rival is a model of the pivot's size that was trained beside."""
    ids, sizes_C = tuple(map(str, range(len(bytes_C)))), np.array(bytes_C)
    runs = [Items(ids, tuple(domains), np.array(bits), sizes_C) for bits in row["seeds"]]
    kind = "self" if row["kind"] == "rival" else row["kind"]
    return Trained(row["model"], cast(RowKind, kind), tuple(Scores(0, {PRIMARY.name: one}) for one in runs))


def as_json(gain: Gain) -> dict[str, float | bool | None]:
    """A gain for the file."""
    return {"value": gain.value, "se": gain.se, "t": gain.t, "clear": gain.is_clear}


def title(row: Row) -> str:
    """A row's name, whatever its seed."""
    plain = {"sft": "SFT", "soup": "SFT soup", "pivot": "pivot"}
    if row.kind in plain:
        return plain[row.kind]
    return f"{row.kind} {row.base}" if row.kind != "merge" else row.base


class Rival(Measured):
    """A model that was measured later, and the commit of the code that measured it."""

    commit: str


class Evaluated(NamedTuple):
    """A model's evaluations by seed, and their jobs' fingerprints."""

    kind: RowKind
    runs: list[Scores]
    fingerprints: list[str]


def read_rows(recipe: Recipe) -> dict[str, Evaluated]:
    """The rows of a finished run, by name."""
    planned, found = open_run(recipe), dict[str, Evaluated]()
    for row in rows(recipe):
        job = evaluated("test", row)
        assert planned.status(planned.jobs[job]).state == "done", f"{job} is not done"
        held = found.setdefault(title(row), Evaluated(row.kind, [], []))
        held.runs.append(read_scores(planned.path(job)))
        held.fingerprints.append(planned.jobs[job].fingerprint)
    return found


def measured(name: str, one: Evaluated) -> Measured:
    """A row of the file."""
    seeds = [bits_of(run.items[PRIMARY.name]) for run in one.runs]
    return {"model": name, "kind": one.kind, "seeds": seeds, "fingerprints": one.fingerprints}


def bits_of(items: Items) -> list[float]:
    """The bits of each dialogue."""
    return [round(float(bits), 4) for bits in items.values]


def rival(given: str, bytes_C: Sequence[int], domains: Sequence[str], commit: str) -> Rival:
    """NAME=EVALUATION[,EVALUATION...] as a row."""
    name, _, folders = given.partition("=")
    seeds = []
    for folder in folders.split(","):
        one = read_scores(Path(folder)).items[PRIMARY.name]
        same = one.sizes.tolist() == list(bytes_C) and list(one.domains) == list(domains)
        assert same, f"{folder} has other dialogues"
        seeds.append(bits_of(one))
    return {"model": name, "kind": "rival", "seeds": seeds, "fingerprints": [], "commit": commit}


def measured_tasks(folder: Path, kinds: Mapping[str, RowKind]) -> dict[str, Trained]:
    """The rows of ``benchmarks.real_chat_tasks``, given the kind of each row by its name."""
    rows = {}
    for name, kind in kinds.items():
        seeds = sorted((folder / name).glob("*/scores.json"), key=lambda path: int(path.parent.name))
        if seeds:
            rows[name] = Trained(name, kind, tuple(read_scores(seed.parent) for seed in seeds))
    return rows


def task_gains(models: Mapping[str, Trained], fused: str) -> dict[str, object]:
    """Figures in every task, and what the fused model gains, in the metric's own unit, over all and by domain.

    ``seen`` is the smallest true difference that a run like this one would call clear in four of five cases.
    """
    tasks: dict[str, object] = {}
    for name in models[fused].runs[0].items:
        metric = METRICS[name]
        own = {row.label: [run.estimate(metric).value for run in row.runs] for row in models.values()}
        over: dict[str, object] = {}
        for base in (row for row in models.values() if row.label != fused):
            gain = gains([*models.values()], metric, fused, base.kind)[fused]
            domains = {domain: as_json(one) for domain, one in gain.domains.items()}
            over[base.label] = as_json(gain.overall) | {
                "seen": detectable(gain.overall, metric.estimator.own),
                "domains": domains,
            }
        tasks[name] = {"questions": len(models[fused].runs[0].items[name].ids), "rows": own, "gain": over}
    return tasks


def result(recipe: Recipe, commit: str, train_tokens: int) -> dict[str, Any]:
    """The object of the file."""
    evaluations, fused = read_rows(recipe), main_merge(recipe)
    choosing = json.loads(CHOOSING.read_text())
    items = evaluations[fused].runs[0].items[PRIMARY.name]
    others = {run.items[PRIMARY.name].ids for one in evaluations.values() for run in one.runs}
    assert others == {items.ids}, "rows have other dialogues"
    held = {
        "commit": commit,
        "fused": fused,
        "seeds": recipe.distill.seeds,
        "train_tokens": train_tokens,
        "variants": sum(row["kind"] == "variant" for row in choosing),
        "choosing": choosing,
        "gain": {},
        "domains": {},
        "tasks": {},
        "dialogues": {"domains": list(items.domains), "bytes": [int(size) for size in items.sizes]},
        "rows": [measured(name, one) for name, one in evaluations.items()],
    }
    return held | judged(held)


def judged(held: Mapping[str, Any]) -> dict[str, object]:
    """What the fused model gains over the rows of the file, in all and in each domain."""
    bytes_C, domains = held["dialogues"]["bytes"], held["dialogues"]["domains"]
    there = {row["model"] for row in held["rows"]}
    names = {over: NAMES.get(over, over) for over in OVER}
    names = {over: name for over, name in names.items() if name in there}
    found = {
        over: gain_over(held["rows"], held["fused"], name, bytes_C, domains) for over, name in names.items()
    }
    return {
        "gain": {over: as_json(gain.overall) for over, gain in found.items()},
        "domains": {
            name: {over: as_json(gain.domains[name]) for over, gain in found.items()}
            for name in dict.fromkeys(domains)
        },
    }


def added(
    held: Mapping[str, Any], rivals: Sequence[str], commit: str, tasks: Path | None = None
) -> dict[str, Any]:
    """The object of the file with what was measured later; a rival of the same name is replaced."""
    bytes_C, domains = held["dialogues"]["bytes"], held["dialogues"]["domains"]
    more = [rival(one, bytes_C, domains, commit) for one in rivals]
    names = {row["model"] for row in more}
    rows = [row for row in held["rows"] if row["model"] not in names] + more
    found = {**held, "rows": rows}
    if tasks is not None:
        kinds = {row["model"]: row["kind"] for row in held["rows"]}
        found["tasks"] = task_gains(measured_tasks(tasks, kinds), held["fused"])
    return found | judged(found)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("models", type=Path, nargs="?")
    parser.add_argument("--work", type=Path)
    parser.add_argument("--add", action="store_true", help="to the file that is there")
    parser.add_argument("--rival", action="append", default=[], metavar="NAME=EVALUATION[,...]")
    parser.add_argument("--tasks", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    commit = subprocess.run(
        ["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True
    ).stdout.strip()
    if given.add:
        held = added(json.loads(given.out.read_text()), given.rival, commit, given.tasks)
    elif given.models is None or given.work is None or given.rival or given.tasks:
        parser.error("either MODELS and --work, or --add with what is added")
    else:
        recipe = final_recipe(Study(given.models, given.work.absolute()))
        tokens = int(read_tokens(recipe.run_folder / CORPUS, "train", "pivot").offsets[-1])
        held = result(recipe, commit, tokens)
    given.out.write_text(json.dumps(held) + "\n")
    console.say(
        json.dumps({key: held[key] for key in ("commit", "seeds", "train_tokens", "variants", "gain")})
    )


if __name__ == "__main__":
    main()
