"""Does fusion pay on real chat LLMs? The study behind docs/results/real_chat.md, in pieces that go on where they were.

    python ../shared/tools/real_models.py MODELS
    python -m benchmarks.real_chat --corpus FOLDER            # writes the study's dialogues, nothing else
    python -m benchmarks.real_chat choose MODELS --work WORK [--minutes 18] [--only NAME,...]
    python -m benchmarks.real_chat final MODELS --work WORK [--minutes 18]
    python -m benchmarks.real_chat beside MODELS --work WORK [--minutes 18] [--only NAME,...]

The recipe is recipes/smollm_chat.yaml with the dialogues of ``../shared/data/chat``: 90 of each of four domains to train
on (about 30,000 supervised tokens), 30 of each to choose by, 63 of each for the test.

``choose`` trains every variant of `VARIANTS` once, and measures it on the dialogues to choose by; nothing of it sees the
test. ``final`` is the recipe with what was chosen, `CHOSEN`, three seeds that were not used for choosing, and the test.
``beside`` trains `CHEAPER` with the same seeds on the same text. Captures and alignments are made once. Several processes
may work on one folder at once: each takes a variant that no other has. Prints a table of what is there; the last line is
JSON, with ``"finished": false`` while something is missing.
"""

import argparse
import gzip
import json
import os
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks.real_capture import stop_after
from fusionchat import console
from fusionchat.evaluate.scores import Scores, read_scores
from fusionchat.evaluate.tasks import PRIMARY
from fusionchat.lease import POLL, Lease
from fusionchat.recipe.schema import Recipe
from fusionchat.run.job import Job
from fusionchat.stages.names import evaluated
from fusionchat.stages.pipeline import open_run, run, run_job
from fusionchat.stages.variants import merges, rows

ROOT = Path(__file__).resolve().parents[1]
RECIPE = ROOT / "recipes" / "smollm_chat.yaml"
DATA = ROOT.parent / "shared" / "data" / "chat"
DOMAINS = {
    "code": ("code_4535", "code_4535"),
    "instructions": ("instructions_1100", "instructions_1100"),
    "math": ("gsm8k_train", "gsm8k_test"),
    "roleplay": ("roleplay_1923", "roleplay_1923"),
}
"""Where the dialogues to train on and to choose by come from, and those of the test."""
TRAIN, CHOOSE, TEST, SPARE = 90, 30, 63, 2
"""Dialogues of each domain; the spare ones are the recipe's validation part while variants are chosen."""
BASE = (
    "fuse/qwen",
    "fuse/gemma",
    "evaluate/test/pivot",
    "evaluate/test/sources/qwen",
    "evaluate/test/sources/gemma",
)
"""Jobs that are made once, beside captures and alignments."""


class Variant(NamedTuple):
    """A training that is tried.

    Attributes:
        target: What is measured: a target, ``sft``, which learns the labels alone, or a merge of all targets by its name.
        settings: What differs from the recipe, as with ``--set``.
        sources: Those of the recipe that take part; all for none.
        base: The run with captures and alignments that it begins with, one of `BASES`.
    """

    target: str
    settings: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    base: str = "base"


def rate(value: str) -> str:
    """The setting of a learning rate."""
    return f"distill.learning_rate={value}"


EPOCHS = "distill.epochs=3"
PER_TOKEN = "fuse.per=token"
FOLDERS = {"pivot": "smollm2", "qwen": "qwen-coder", "gemma": "gemma", "smol": "smollm2"}
SYSTEMS = {
    "qwen": "You are Qwen, created by Alibaba Cloud. You are a helpful assistant.",
    "smol": "You are a helpful AI assistant named SmolLM, trained by Hugging Face",
}
GATE = ("fuse.method=gate",)
ROUTE = ("fuse={method: route, map: {code: qwen, instructions: qwen, math: qwen, roleplay: pivot}}",)
MIXTURE = ("fuse={method: mean_ce, per: token}",)


class Base(NamedTuple):
    """A run with captures and alignments, that variants begin with.

    Attributes:
        parent: The run that it begins with itself; "" for none.
        examples: Sources that see example dialogues of the corpus before each conversation. ``smol`` is the pivot itself
            with examples (context distillation, arXiv 2209.15189).
        settings: What differs from the recipe, as with ``--set``.
    """

    parent: str = "base"
    examples: tuple[str, ...] = ()
    settings: tuple[str, ...] = ()


BASES = {
    "base": Base(""),
    "examples": Base(examples=("qwen",)),
    "context": Base("examples", ("qwen", "smol")),
    "adapted": Base(settings=("adapt.learning_rate=2e-4",)),
    "adapted 5e-4": Base(settings=("adapt.learning_rate=5e-4", "adapt.sources=[qwen]")),
    "teachers": Base(settings=("adapt.learning_rate=5e-4", "adapt.pivot={}")),
}
LOW, ALL = "distill.label_weight=0.1", "compare.all_sources=true"
TWO = ("qwen", "gemma")
VARIANTS: dict[str, Variant] = {
    "qwen, teachers": Variant("qwen", (LOW, EPOCHS), TWO, "teachers"),
    "gemma, teachers": Variant("gemma", (LOW, EPOCHS), TWO, "teachers"),
    "varm, teachers": Variant("varm", (LOW, EPOCHS), TWO, "teachers"),
    "linear, teachers": Variant("linear", (LOW, EPOCHS), TWO, "teachers"),
    "self, teachers": Variant("pivot", (LOW, EPOCHS, "compare.self_distillation=true"), TWO, "teachers"),
    "qwen 0.1 3 epochs": Variant("qwen", (LOW, EPOCHS), ("qwen",)),
    "qwen adapted 5e-4 0.1 3 epochs 2e-4": Variant(
        "qwen", (LOW, EPOCHS, rate("2e-4")), ("qwen",), "adapted 5e-4"
    ),
    "qwen adapted 5e-4": Variant("qwen", (), ("qwen",), "adapted 5e-4"),
    "qwen adapted 5e-4 0.1 3 epochs": Variant("qwen", (LOW, EPOCHS), ("qwen",), "adapted 5e-4"),
    "qwen adapted 0.1 3 epochs": Variant("qwen", (LOW, EPOCHS), ("qwen",), "adapted"),
    "gemma adapted 0.1 3 epochs": Variant("gemma", (LOW, EPOCHS), ("gemma",), "adapted"),
    "all adapted 0.1 3 epochs": Variant("all", (LOW, EPOCHS, ALL), ("qwen", "gemma"), "adapted"),
    "sft 2 epochs 5e-5": Variant("sft", ("distill.epochs=2", rate("5e-5"))),
    "sft 1e-4": Variant("sft", (rate("1e-4"),)),
    "qwen": Variant("qwen", (), ("qwen",)),
    "qwen examples": Variant("qwen", (), ("qwen",), "examples"),
    "qwen examples 0.1": Variant("qwen", ("distill.label_weight=0.1",), ("qwen",), "examples"),
    "qwen examples per token": Variant("qwen", (PER_TOKEN,), ("qwen",), "examples"),
    "qwen examples 3e-4": Variant("qwen", (rate("3e-4"),), ("qwen",), "examples"),
    "qwen examples 0.1 3e-4": Variant(
        "qwen", (rate("3e-4"), "distill.label_weight=0.1"), ("qwen",), "examples"
    ),
    "sft 3 epochs": Variant("sft", (EPOCHS,)),
    "qwen examples 3 epochs": Variant("qwen", (EPOCHS,), ("qwen",), "examples"),
    "sft 3 epochs 5e-5": Variant("sft", (EPOCHS, rate("5e-5"))),
    "qwen examples 0.9": Variant("qwen", ("distill.label_weight=0.9",), ("qwen",), "examples"),
    "all examples 3 epochs": Variant(
        "all", (EPOCHS, "compare.all_sources=true"), ("qwen", "smol"), "context"
    ),
    "all examples": Variant("all", ("compare.all_sources=true",), ("qwen", "smol"), "context"),
    "all examples 0.1": Variant(
        "all", ("compare.all_sources=true", "distill.label_weight=0.1"), ("qwen", "smol"), "context"
    ),
    "smol examples": Variant("smol", (), ("smol",), "context"),
    "sft 3e-4": Variant("sft", (rate("3e-4"),)),
    "qwen 3e-4": Variant("qwen", (rate("3e-4"),), ("qwen",)),
    "all": Variant("all", ("compare.all_sources=true",)),
    "qwen 0.1": Variant("qwen", ("distill.label_weight=0.1",), ("qwen",)),
    "qwen per token": Variant("qwen", (PER_TOKEN,), ("qwen",)),
    "qwen 0.9": Variant("qwen", ("distill.label_weight=0.9",), ("qwen",)),
    "gemma": Variant("gemma", (), ("gemma",)),
    "qwen gate": Variant("qwen", GATE, ("qwen",)),
    "sft 3e-5": Variant("sft", (rate("3e-5"),)),
    "self": Variant("pivot", ("compare.self_distillation=true",)),
    "qwen mixture per token": Variant("qwen", MIXTURE, ("qwen",)),
    "qwen route": Variant("qwen", ROUTE, ("qwen",)),
}
"""In the order of what decides most; what is not reached is not measured."""
CHOSEN: tuple[str, ...] = (
    "adapt={learning_rate: 5e-4, pivot: {train: full, learning_rate: 1e-4}}",
    LOW,
    EPOCHS,
    "compare.sft_epochs=1",
)
"""What was chosen on the dialogues of ``choose``, as with ``--set``; committed before the test was opened."""


class Cheaper(NamedTuple):
    """A model that costs less to make than the fused one.

    Attributes:
        kinds: Which rows of the recipe's results it is.
        settings: What differs from the final run, as with ``--set``.
    """

    kinds: tuple[str, ...]
    settings: tuple[str, ...]


CHEAPER = {
    "self-distillation": Cheaper(("self",), ("compare.self_distillation=true",)),
    "SFT two passes": Cheaper(("sft", "soup"), ("compare.sft_epochs=2", "compare.sft_learning_rate=5e-5")),
}
"""Asked for by a reader after the test had been opened: the fine-tuned pivot as the only teacher; SFT's other best setting."""


def dialogues(name: str) -> Iterator[str]:
    """The lines of a file of dialogues."""
    with gzip.open(DATA / f"{name}.jsonl.gz", "rt", encoding="utf-8") as file:
        yield from (line.strip() for line in file)


def write_corpus(folder: Path) -> None:
    """``train``, ``validation``, ``test`` and ``spare``, each with as many dialogues of every domain, in turn."""
    parts: dict[str, list[str]] = {"train": [], "validation": [], "test": [], "spare": []}
    for learnt, tested in DOMAINS.values():
        lines = dialogues(learnt)
        for part, count in (("train", TRAIN), ("validation", CHOOSE), ("spare", SPARE)):
            parts[part] += [next(lines) for _ in range(count)]
        rest = lines if tested == learnt else dialogues(tested)
        parts["test"] += [next(rest) for _ in range(TEST)]
    folder.mkdir(parents=True, exist_ok=True)
    for part, held in parts.items():
        (folder / f"{part}.jsonl").write_text("\n".join(held) + "\n")


class Study(NamedTuple):
    """Where models, dialogues and runs are."""

    models: Path
    work: Path

    def examples(self, sources: tuple[str, ...]) -> list[str]:
        """The settings that put the first training dialogue of each domain before every conversation of these sources."""
        lines = (self.work / "corpus/train.jsonl").read_text().splitlines()
        shown = [json.loads(line)["messages"] for line in lines[::TRAIN]]
        examples = [message for one in shown for message in one]
        template = ROOT / "recipes/templates/chatml_examples.jinja"
        found = ["corpus.max_tokens=2048"]
        for name in sources:
            model, variables = self.models / FOLDERS[name], {"system": SYSTEMS[name], "examples": examples}
            spec = {
                "model": str(model.absolute()),
                "template": str(template),
                "template_variables": variables,
            }
            found.append(f"sources.{name}={json.dumps(spec)}")
        return found

    def recipe(self, name: str, phase: str, variant: Variant) -> Recipe:
        """The recipe of one run."""
        corpus = self.work / "corpus"
        validation, test = ("spare", "validation") if phase == "choose" else ("validation", "test")
        settings = [
            f"name={name}",
            f"output={self.work / phase}",
            f"corpus.train={corpus / 'train.jsonl'}",
            f"corpus.validation={corpus / f'{validation}.jsonl'}",
            f"corpus.test={corpus / f'{test}.jsonl'}",
            "runtime.threads=1",
            "runtime.device=cpu",
            "evaluate.dtype=float32",  # SFT is stored in float32, which bf16 would round
            f"pivot.model={(self.models / FOLDERS['pivot']).absolute()}",
            *(
                f"sources.{name}.model={(self.models / FOLDERS[name]).absolute()}"
                for name in ("qwen", "gemma")
            ),
            "compare.all_sources=false",
        ]
        base = BASES[variant.base]
        examples = self.examples(base.examples) if base.examples else []
        recipe = Recipe.load(RECIPE, [*settings, *examples, *base.settings, *variant.settings])
        held = {key: one for key, one in recipe.sources.items() if key in (variant.sources or recipe.sources)}
        return recipe.model_copy(update={"sources": held})


def make_base(study: Study, name: str) -> None:
    """Captures, alignments, and the rows that no training changes."""
    if name == "base":
        recipe = study.recipe("base", "choose", Variant("sft"))
        run(recipe, until="align")
        for job in BASE:
            if not is_done(recipe, job):
                run_job(recipe, job)
        return
    parent = BASES[name].parent
    with waiting(study.work / "locks" / slug(parent)):
        make_base(study, parent)
    link(study.work / "choose" / parent, study.work / "choose" / slug(name))
    recipe = study.recipe(slug(name), "choose", Variant("", (), BASES[name].examples, name))
    run(recipe, until="align")


def is_done(recipe: Recipe, job: str) -> bool:
    """Whether a job of a run is done."""
    planned = open_run(recipe)
    return planned.status(planned.jobs[job]).state == "done"


@contextmanager
def waiting(lock: Path) -> Iterator[None]:
    """Hold a lease, once nobody else does."""
    held = Lease(lock)
    while held.take() is not None:
        time.sleep(POLL)
    try:
        yield
    finally:
        held.release()


def slug(name: str) -> str:
    """A variant's name as a run's."""
    return name.replace(" ", "-")


def link(base: Path, folder: Path) -> None:
    """A run that begins with all jobs of another."""
    if folder.exists():
        return
    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    shutil.copytree(
        base, partial, copy_function=os.link, ignore=shutil.ignore_patterns(".*", "*.lock", "events*")
    )
    partial.rename(folder)


def jobs_of(recipe: Recipe, target: str) -> list[str]:
    """The jobs that make and measure a target or a merge, in order, those that are done among them."""
    weight = f"{recipe.distill.label_weight:g}"
    name = "sft" if target == "sft" else f"{target}@{weight}"
    folder = "" if target in ("sft", *merges(recipe)) else "targets/"
    return needed(open_run(recipe).jobs, [f"evaluate/test/{folder}{name}"])


def needed(jobs: Mapping[str, Job], wanted: Iterable[str]) -> list[str]:
    """Some jobs of a run with all that they need, in order."""
    found = set(wanted)
    for job in reversed(jobs):  # jobs come after those that they need
        if job in found:
            found.update(jobs[job].needs)
    return [job for job in jobs if job in found]


def make_jobs(recipe: Recipe, wanted: Iterable[str]) -> None:
    """Make jobs, and of what they need what is not done."""
    for job in needed(open_run(recipe).jobs, wanted):
        if not is_done(recipe, job):
            console.say(f"== {recipe.name}: {job}")
            run_job(recipe, job)


def choose(study: Study, only: list[str]) -> None:
    """Train and measure every variant that nobody else works on."""
    locks = study.work / "locks"
    locks.mkdir(parents=True, exist_ok=True)
    for name in only or VARIANTS:
        if name in BASES:
            with waiting(locks / slug(name)):
                make_base(study, name)
            continue
        variant, lock = VARIANTS[name], Lease(locks / slug(name))
        if lock.take() is not None:
            continue
        try:
            with waiting(locks / slug(variant.base)):
                make_base(study, variant.base)
            link(study.work / "choose" / slug(variant.base), study.work / "choose" / slug(name))
            recipe = study.recipe(slug(name), "choose", variant)
            run(recipe, until="align")  # the corpus is read again where fewer sources take part
            make_jobs(recipe, jobs_of(recipe, variant.target))
        finally:
            lock.release()


def final_recipe(study: Study, name: str = "smollm-chat", more: tuple[str, ...] = ()) -> Recipe:
    """The recipe with what was chosen, and seeds that nothing was chosen with."""
    settings = ("seed=1", "distill.seeds=3", "runtime.workers=2", *CHOSEN, *more)
    return study.recipe(name, "final", Variant("", settings))


def final(study: Study) -> None:
    """The run with what was chosen."""
    run(final_recipe(study))


def beside(study: Study, only: list[str]) -> dict[str, dict[str, str]]:
    """Train and measure what is cheaper, unless somebody else does; returns the finished evaluations of each."""
    (study.work / "locks").mkdir(parents=True, exist_ok=True)
    found: dict[str, dict[str, str]] = {}
    for name in only or CHEAPER:
        recipe = final_recipe(study, slug(name), CHEAPER[name].settings)
        base, lock = final_recipe(study).run_folder, Lease(study.work / "locks" / slug(name))
        if lock.take() is not None:
            continue
        try:
            if base.is_dir():
                link(base, recipe.run_folder)
            wanted = [evaluated("test", row) for row in rows(recipe) if row.kind in CHEAPER[name].kinds]
            make_jobs(recipe, wanted)
            found[name] = {job: str(open_run(recipe).path(job)) for job in wanted}
        finally:
            lock.release()
    return found


def scores_of(recipe: Recipe, job: str) -> Scores | None:
    """A finished evaluation of a run; None while there is none."""
    return read_scores(recipe.run_folder / job) if is_done(recipe, job) else None


def figures(scores: Scores) -> dict[str, float]:
    """Bits per byte of each domain, and of all."""
    items = scores.items[PRIMARY.name]
    domains = np.array(items.domains)
    chosen = {"all": np.ones(len(domains), bool)} | {name: domains == name for name in DOMAINS}
    return {
        name: round(float(items.values[of].sum() / items.sizes[of].sum()), 4) for name, of in chosen.items()
    }


def chosen_by(study: Study) -> dict[str, dict[str, float]]:
    """The figures of every variant that has been measured, and of pivot and sources."""
    found: dict[str, dict[str, float]] = {}
    base = study.recipe("base", "choose", Variant("sft"))
    for job in BASE:
        if job.startswith("evaluate") and (scores := scores_of(base, job)) is not None:
            found[job.rpartition("/")[2]] = figures(scores)
    for name, variant in VARIANTS.items():
        recipe = study.recipe(slug(name), "choose", variant)
        if not recipe.run_folder.is_dir():
            continue
        scores = scores_of(recipe, jobs_of(recipe, variant.target)[-1])
        if scores is not None:
            found[name] = figures(scores)
    return found


def show(title: str, rows: dict[str, dict[str, float]]) -> None:
    """A table of bits per byte."""
    columns = ("all", *DOMAINS)
    console.table(
        title,
        ("model", *columns),
        [(name, *(f"{held[column]:.4f}" for column in columns)) for name, held in rows.items()],
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("phase", nargs="?", choices=("choose", "final", "beside"))
    parser.add_argument("models", nargs="?", type=Path, help="the folder that real_models.py has filled")
    parser.add_argument("--corpus", type=Path, help="write the study's dialogues into this folder, and end")
    parser.add_argument("--work", type=Path, help="folder for the runs; calls with the same one go on")
    parser.add_argument("--minutes", type=float, default=18.0)
    parser.add_argument(
        "--only", default="", help="of choose and beside, with commas between; all by default"
    )
    given = parser.parse_args()
    if given.corpus is not None:
        write_corpus(given.corpus)
        return
    if given.phase is None or given.models is None or given.work is None:
        parser.error("the phase, MODELS and --work are needed")
    only = [name.strip() for name in given.only.split(",") if name.strip()]
    known = {"choose": {*VARIANTS, *BASES}, "beside": {*CHEAPER}}.get(given.phase, set())
    if unknown := [name for name in only if name not in known]:
        parser.error(
            f"--only: no {unknown[0]!r} in {given.phase}; there are {', '.join(sorted(known)) or 'none'}"
        )
    study = Study(given.models, given.work.absolute())
    stop_after(given.minutes)
    if not (study.work / "corpus/spare.jsonl").is_file():
        write_corpus(study.work / "corpus")
    if given.phase == "beside":
        found = beside(study, only)
        held = {f"{name}: {job}": path for name, paths in found.items() for job, path in paths.items()}
        if held:
            show(
                "bits per byte of the test",
                {name: figures(read_scores(Path(path))) for name, path in held.items()},
            )
        console.say(json.dumps({"evaluations": found, "finished": set(found) == set(CHEAPER)}))
    elif given.phase == "choose":
        choose(study, only)
        measured = chosen_by(study)
        show("bits per byte on the dialogues to choose by", measured)
        console.say(json.dumps({"rows": measured, "finished": set(VARIANTS) <= set(measured)}))
    else:
        final(study)
        console.say(json.dumps({"finished": True}))


if __name__ == "__main__":
    main()
