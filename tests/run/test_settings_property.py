"""Every key of a recipe outside ``runtime`` changes every job whose settings hold it, and no job's settings miss one."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from fusionchat.recipe.schema import Recipe, load_recipe, validate_recipe
from fusionchat.run.job import Job
from fusionchat.stages.pipeline import open_run
from fusionchat.yaml import to_yaml
from tests.tiny import SETTINGS, write_recipe

NOT_SETTINGS = {
    "name": "the run's name",
    "output": "where the run is",
    "pivot.model": "a place; its content is hashed",
    "pivot.tokenizer": "a place; its content is hashed",
    "pivot.revision": "of a hub id: its commit is hashed",
    "pivot.template": "its text is hashed with the tokenizer",
    "pivot.thinking": "hashed with the tokenizer",
    "pivot.template_variables.x": "hashed with the tokenizer",
    "corpus.train.path": "a place; its content is hashed",
    "corpus.train.revision": "of a hub id: its commit is hashed",
}
"""Keys that no settings hold, and why."""

WORK = {
    "seed": ("corpus/corpus", "distill/sft"), "corpus": ("corpus/corpus",), "represent": ("represent/pivot", "represent/qwen"),
    "pivot": ("corpus/corpus", "represent/pivot", "distill/sft", "merge/varm"), "sources": ("corpus/corpus", "represent/qwen"),
    "align": ("align/qwen",), "fuse": ("fuse/qwen", "fuse/all"), "distill": ("distill/",), "merge": ("merge/varm",),
    "search": ("merge/search",), "fused": ("merge/varm", "merge/karcher", "merge/search"), "compare": ("evaluate/test/",),
    "evaluate": ("evaluate/test/pivot",), "adapt": ("adapt/",), "compare.sft_epochs": ("distill/sft",),
    "compare.sft_learning_rate": ("distill/sft",),
}  # fmt: skip
"""Jobs whose own settings, or what they read from outside the run, a part of the recipe changes (how their ids begin)."""
NO_WORK = {"name", "output", "pivot.revision", "sources.qwen.revision", "corpus.train.revision"}
"""Keys that change no work: names and places, and revisions of what is on this machine."""


ENTRY = {
    "path": "input/corpus/train.jsonl",
    "columns": {"messages": "messages"},
    "domain": {"column": "domain"},
    "filter": {"domain": ["code", "math"]},
}


def everything() -> dict[str, Any]:
    """A recipe in which every part is there."""
    return SETTINGS | {
        "corpus": {"train": ENTRY, "validation": 0.1, "test": 0.1, "max_tokens": 96},
        "distill": SETTINGS["distill"] | {"sweep": [0.3]},
        "search": {"metric": "exact_match", "candidates": ["linear"], "minutes": 5},
        "evaluate": {
            "exact_match": {"answer_pattern": "(?s)(.*)", "max_new_tokens": 2, "limit": 3},
            "right_answer": {"limit": 3},
            "continuation": {"limit": 3},
            "multiple_choice": {"path": "q.jsonl", "limit": 3},
        },
        "compare": {"sft": True, "self_distillation": True, "all_sources": True, "merges": ["karcher"]},
        "fuse": {"method": "mean_ce", "temperature": 0.5},
        "pivot": SETTINGS["pivot"] | {"template_variables": {"x": False}, "capture": {"device_map": "auto"}},
        "sources": SETTINGS["sources"] | {"qwen": SETTINGS["sources"]["qwen"] | {"capture": {"device_map": "auto"}}},
        "align": {"k": 4},
        "adapt": {"sources": ["mixtral"], "train": "full", "precision": "fp32"},
    }  # fmt: skip


def leaves(tree: Any, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """The paths of a tree's values; lists count as one."""
    if not isinstance(tree, dict):
        return [path]
    return [leaf for key, below in tree.items() for leaf in leaves(below, (*path, key))]


def put(tree: dict[str, Any], path: tuple[str, ...], value: Any) -> dict[str, Any]:
    """A copy of the tree with another value."""
    changed = copy.deepcopy(tree)
    node = changed
    for key in path[:-1]:
        node = node[key]
    node[path[-1]] = value
    return changed


def others(value: Any, path: tuple[str, ...]) -> list[Any]:
    """Values to try instead; the first that is valid is taken."""
    if isinstance(value, bool):
        return [not value]
    if isinstance(value, int | float):
        return [value + 1, value / 2, value + 0.05]
    if value is None:
        return [3, 1, 0.5, "x", "drop", "main", {"quant_method": "hqq"}, {"cpu": "1GB"}]
    if isinstance(value, list):
        return [[], [0.2], ["varm"]] if path[-2] != "filter" else [["code"]]
    if path[0] == "sources" and path[-1] == "model":
        return ["p"]
    if path == ("adapt", "train"):
        return ["lora"]
    if path[-2:] == ("multiple_choice", "path"):
        return ["r.jsonl"]
    if path[-2:] == ("domain", "column"):
        return ["topic"]
    words = {
        "template": ["pivot.jinja"], "thinking": ["drop"], "format": ["messages"], "dtype": ["float16"], "path": ["b.jsonl"],
        "pattern": [r"(x)\n"], "answer_pattern": ["(.)"], "metric": ["bits_per_byte"], "precision": ["bf16"], "model": ["m"],
        "schedule": ["linear"], "tail": ["renormalize"], "per": ["turn"], "unit": ["nats_per_token"], "positions": ["dtw"],
        "granularity": ["layer"], "logprobs": ["uint8"], "compression": ["zstd"], "method": ["exact", "linear"],
        "device_map": ["balanced"], "batch_tokens": [512],
    }  # fmt: skip
    return [*words.get(path[-1], []), f"{value}2"]


def fingerprints(recipe: Recipe):
    run = open_run(recipe)
    return {job.id: (job.fingerprint, flat(job.hashed), own(job)) for job in run.jobs.values()}


def own(job: Job) -> dict[str, Any]:
    """What a job does not have from the jobs that it needs: its settings, and what it reads from outside the run."""
    return flat(job.hashed) | {name: digest for name, digest in job.inputs.items() if name not in job.needs}


def flat(value: Any, path: str = "") -> dict[str, Any]:
    if not isinstance(value, dict):
        return {path: value}
    return {k: v for key, below in value.items() for k, v in flat(below, f"{path}.{key}").items()}


def valid(tree: dict[str, Any]) -> Recipe | None:
    try:
        return validate_recipe(copy.deepcopy(tree), name="recipe", folder=".")
    except Exception:
        return None


@pytest.fixture
def whole(tiny: Path) -> dict[str, Any]:
    (tiny / "pivot.jinja").write_text("{{ messages }}")
    (tiny / "b.jsonl").write_text((tiny / "input/corpus/train.jsonl").read_text() + "\n")
    for name in ("q.jsonl", "r.jsonl"):
        (tiny / name).write_text('{"question": "1+1?", "options": ["1", "2"], "answer": 1}\n')
    (tiny / "m").symlink_to((tiny / "input/models/qwen").resolve())
    (tiny / "p").symlink_to((tiny / "input/models/pivot").resolve())
    (tiny / "recipe.yaml").write_text(to_yaml(everything()))
    dumped: dict[str, Any] = json.loads(load_recipe("recipe.yaml").model_dump_json())
    return dumped


def test_every_key_changes_every_job_whose_settings_hold_it(whole):
    recipe = valid(whole)
    assert recipe is not None
    before = fingerprints(recipe)
    seen = set()
    one = {"sources": {"qwen": whole["sources"]["qwen"]}}
    for path in leaves({key: value for key, value in (whole | one).items() if key != "runtime"}):
        # Another method has other keys, see test_job.py; own code is in the identity, see tests/models/test_from_pretrained.py.
        if path[-1] in ("method", "backend", "trust_remote_code"):
            continue
        if path[-2:] == ("domain", "name"):  # it excludes the column
            continue
        value = whole
        for key in path:
            value = value[key]
        recipe = next(
            (r for other in others(value, path) if other != value and (r := valid(put(whole, path, other)))),
            None,
        )
        name = ".".join(path)
        assert recipe is not None, f"no other value was found for {name}"
        after = fingerprints(recipe)
        moved = {job for job in before.keys() & after.keys() if before[job][0] != after[job][0]}
        moved |= before.keys() ^ after.keys()
        holding = {job for job in before.keys() & after.keys() if before[job][1] != after[job][1]}
        assert holding <= moved
        changed = {job for job in before.keys() & after.keys() if before[job][2] != after[job][2]}
        changed |= before.keys() ^ after.keys()
        own = "capture" in path or path[-1] == "adapter"  # of the weights, not of the words
        work = (f"represent/{path[path[0] == 'sources']}",) if own else WORK.get(name, WORK.get(path[0], ()))
        idle = [job for job in work if not any(one.startswith(job) for one in changed)]
        assert not idle or name in NO_WORK, f"{name} does not change {idle}"
        assert "report/report" in moved or name in ("name", "output"), name
        seen.add(name)
    assert NOT_SETTINGS.keys() | NO_WORK <= seen and len(seen) > 50


@pytest.mark.parametrize("runtime", [{"batch_tokens": 9}, {"workers": 2}, {"device": "cpu"}, {"threads": 2}])
def test_no_runtime_key_changes_any(whole, runtime):
    recipe, other = valid(whole), valid(whole | {"runtime": whole["runtime"] | runtime})
    assert recipe is not None and other is not None
    assert fingerprints(recipe) == fingerprints(other)


def test_a_written_recipe_is_read_as_it_was(tiny):
    write_recipe(tiny / "recipe.yaml", **everything())
    recipe = load_recipe("recipe.yaml")
    assert valid(json.loads(recipe.model_dump_json())) == recipe
