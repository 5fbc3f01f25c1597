"""Stage `evaluate`: held-out bits per byte and exact match, one job per model."""

import json
import shutil
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from fusionchat import console
from fusionchat.artifacts import Json, read_json, write_json, write_text
from fusionchat.console import ignore, progress
from fusionchat.corpus.conversation import Conversation
from fusionchat.corpus.stage import JOB as CORPUS
from fusionchat.corpus.stage import read_part
from fusionchat.damage import verified, verified_folder
from fusionchat.distill.seeds import FIRST, nth
from fusionchat.distill.stage import SELF, SFT, label
from fusionchat.distill.stage import job_id as distill_job
from fusionchat.errors import CorpusError
from fusionchat.estimate import evaluation_cost
from fusionchat.evaluate.scores import Scores, read_events, rendered_events, write_events
from fusionchat.fuse.stage import targets
from fusionchat.jobs import Run, Summary
from fusionchat.merge.stage import SELECTION, SOUP, merges, selected
from fusionchat.merge.stage import job_id as merge_job
from fusionchat.models import ModelRef
from fusionchat.precision import torch_dtype
from fusionchat.recipe import ExactMatchSettings
from fusionchat.represent.events import add_up, bits_per_byte
from fusionchat.represent.stage import render_all

VERSION = 3  # raised when the same settings and inputs give another output
Part = Literal["validation", "test"]
Kind = Literal["pivot", "source", "sft", "soup", "self", "target", "merge"]
SCORES = "scores.json"
BEST: Literal["best"] = "best"


class Entry(NamedTuple):
    """A model that is evaluated.

    Attributes:
        name: Its job's name, see `entry_name`.
        kind: What it is.
        base: The name without its label weight.
        weight: Its label weight; None where it has none, "best" where the sweep decides it.
        number: Which of the trainings that differ in their seeds alone it is, or was merged from.
    """

    name: str
    kind: Kind
    base: str
    weight: float | Literal["best"] | None = None
    number: int = FIRST


def job_id(part: Part, name: str) -> str:
    """The job that evaluates a model on a part of the corpus."""
    return f"evaluate/{part}/{name}"


def entry(kind: Kind, base: str, weight: float | Literal["best"] | None = None, number: int = FIRST) -> Entry:
    """An entry with its job's name. Those of sources and targets are apart: a source may be called as a merge is."""
    name = base if weight is None else f"{base}@{weight}" if weight == BEST else label(base, float(weight))
    folder = {"source": "sources/", "target": "targets/", "self": "targets/"}.get(kind, "")
    return Entry(nth(f"{folder}{name}", number), kind, base, weight, number)


def entries(run: Run) -> list[Entry]:
    """Every model that is evaluated, in the order of the table; seeds of one model follow each other."""
    recipe = run.recipe
    seeds = range(1, recipe.distill.seeds + 1)
    own = recipe.distill.label_weight
    found = [entry("pivot", "pivot"), *(entry("source", name) for name in recipe.sources)]
    found += [entry("sft", SFT, None, number) for number in range(1, recipe.sft_seeds + 1)]
    found += [entry("soup", SOUP)] if recipe.sft_seeds > 1 else []
    if recipe.compare.self_distillation:
        found += [entry("self", SELF, own, number) for number in seeds]
    weights: list[float | Literal["best"]] = [own, *([BEST] if recipe.distill.sweep else [])]
    for weight in weights:
        kinds: tuple[tuple[Kind, Iterable[str]], ...] = (("target", targets(run)), ("merge", merges(run)))
        for kind, bases in kinds:
            found += [entry(kind, base, weight, number) for base in bases for number in seeds]
    if recipe.search is not None:
        found += [entry("merge", "search", None, number) for number in seeds]
    return found


def plan(run: Run) -> None:
    """Plan one job a row of the results."""
    for model in entries(run):
        add_job(run, "test", model)


def add_job(run: Run, part: Part, model: Entry) -> None:
    """Plan the evaluation of one model; a sweep's choice is looked up when the job runs."""
    exact = run.recipe.evaluate.exact_match if part == "test" else None
    settings: dict[str, Json] = {
        "part": part,
        "evaluate": {
            "exact_match": exact.model_dump() if exact else None,
            "dtype": run.dtypes.of("evaluate.dtype"),
        },
    }
    content = {}
    needs: tuple[str, ...] = (CORPUS,)
    if model.kind in ("pivot", "source"):
        content = run.model(model.base)
    elif model.weight == BEST:
        weights = run.recipe.distill.label_weights
        own = job_id(part, own_weight(run, model).name)
        needs = (*needs, SELECTION, own, *(_maker(model, weight) for weight in weights))
    else:
        needs = (*needs, _maker(model, model.weight))
    work: Callable[[Path], Summary] = lambda folder: evaluate(run, part, model, exact, folder)  # noqa: E731
    measured = run.refs[model.base if model.kind in ("pivot", "source") else "pivot"]
    cost = evaluation_cost(run.recipe, measured, part)
    run.add(
        "evaluate", f"{part}/{model.name}", work, settings=settings, needs=needs, content=content, cost=cost
    )


def own_weight(run: Run, model: Entry) -> Entry:
    """The same model at the recipe's own label weight."""
    return entry(model.kind, model.base, run.recipe.distill.label_weight, model.number)


def _maker(model: Entry, weight: float | str | None) -> str:
    """The job that makes an entry's model."""
    base = model.base if weight is None else label(model.base, float(weight))
    name = nth(base, model.number)
    return distill_job(name) if model.kind in ("sft", "self", "target") else merge_job(name)


def model_of(run: Run, model: Entry) -> ModelRef:
    """The model of an entry; targets and merges use the pivot's template."""
    if model.kind in ("pivot", "source"):
        return run.refs[model.base]
    weight = selected(run).label_weight if model.weight == BEST else model.weight
    folder = str(run.path(_maker(model, weight)) / "model")
    return replace(run.refs["pivot"], name=model.name, model=folder, tokenizer=folder, revision=None)


def evaluate(run: Run, part: Part, model: Entry, exact: ExactMatchSettings | None, folder: Path) -> Summary:
    """Score one model; where the sweep chose the recipe's own label weight, its scores are taken over."""
    if model.weight == BEST and selected(run).label_weight == run.recipe.distill.label_weight:
        own = job_id(part, own_weight(run, model).name)
        for name in run.manifest(own).files:
            shutil.copyfile(verified(run.path(own) / name), folder / name)
        return run.manifest(own).summary
    return score(run, read_part(run, part), model_of(run, model), model.name, exact, folder)


def score(
    run: Run,
    conversations: list[Conversation],
    ref: ModelRef,
    name: str,
    exact: ExactMatchSettings | None,
    folder: Path,
) -> Summary:
    """Write scores.json (by conversation), events.safetensors (by token) and replies.jsonl."""
    from fusionchat.corpus.stage import make_renderer
    from fusionchat.evaluate.exact_match import exact_match
    from fusionchat.evaluate.likelihood import token_bits
    from fusionchat.models import load_model, pick_device

    runtime = run.recipe.runtime
    device = pick_device(runtime.device)
    dtype = torch_dtype(run.dtypes.of("evaluate.dtype"), device, where="evaluate.dtype")
    model = load_model(ref, dtype=dtype, device=device)
    renderer = make_renderer(ref)
    rendered = render_all(renderer, conversations)
    with progress(f"evaluate {name}", len(conversations), "conversations") as advance:
        bits_N = token_bits(
            model,
            rendered,
            names=[c.id for c in conversations],
            device=device,
            batch_tokens=runtime.batch_tokens,
            progress=advance,
        )
    events = rendered_events(rendered, conversations)
    write_events(folder, events, bits_N)
    bits, sizes = (add_up(part, events.conversation, len(conversations)) for part in (bits_N, events.bytes))
    correct: list[bool | None] = [None] * len(conversations)
    unfinished = 0
    if exact is not None:
        asked = places_asked(conversations, exact.limit)
        with progress(f"answer {name}", len(asked), "questions") as advance:
            result = exact_match(
                model,
                renderer,
                [conversations[i] for i in asked],
                pattern=exact.answer_pattern,
                max_new_tokens=exact.max_new_tokens,
                device=device,
                batch_tokens=runtime.batch_tokens,
                progress=advance,
            )
        replies = []
        for place, right, reply in zip(result.asked, result.correct, result.replies, strict=True):
            conversation = conversations[asked[place]]
            correct[asked[place]] = bool(right)
            replies.append(
                {"id": conversation.id, "answer": conversation.answer, "reply": reply, "correct": bool(right)}
            )
        unfinished = int(result.unfinished.sum())
        if unfinished:
            console.warn(f"evaluate {name}: {unfinished} of {len(asked)} answers ended inside a thought")
        write_text(
            folder / "replies.jsonl", "".join(json.dumps(r, ensure_ascii=False) + "\n" for r in replies)
        )
    write_json(
        folder / SCORES,
        {
            "id": [c.id for c in conversations],
            "domain": [c.domain for c in conversations],
            "bits": [round(float(b), 6) for b in bits],
            "bytes": [int(b) for b in sizes],
            "unscored_bytes": sum(c.supervised_bytes for c in conversations) - int(sizes.sum()),
            "unscored_ends": sum(m.supervised and m.complete for c in conversations for m in c.messages)
            - events.ends,
            "correct": correct,
            "unfinished_thoughts": unfinished,
            "parameters": sum(p.numel() for p in model.parameters()),
        },
    )
    return {"bits_per_byte": round(bits_per_byte(float(bits.sum()), int(sizes.sum())), 6)}


def places_asked(conversations: list[Conversation], limit: int | None) -> list[int]:
    """The places of the first conversations that have an answer, at most ``limit`` of them."""
    return [i for i, c in enumerate(conversations) if c.answer is not None][:limit]


def validation_score(run: Run, metric: Literal["bits_per_byte", "exact_match"]) -> Callable[[Path], float]:
    """A function that scores a model folder on the validation part by bits per byte or the share of wrong answers.

    Raises:
        CorpusError: Exact match is asked for, and no conversation of the validation part has an answer.
    """
    from fusionchat.corpus.stage import make_renderer
    from fusionchat.evaluate.exact_match import exact_match
    from fusionchat.evaluate.likelihood import token_bits
    from fusionchat.models import load_model, pick_device

    pivot, runtime, exact = run.refs["pivot"], run.recipe.runtime, run.recipe.evaluate.exact_match
    renderer, device = make_renderer(pivot), pick_device(runtime.device)
    dtype = torch_dtype(run.dtypes.of("evaluate.dtype"), device, where="evaluate.dtype")
    conversations = read_part(run, "validation")
    if metric == "exact_match" and all(c.answer is None for c in conversations):
        raise CorpusError(
            "No conversation of the validation part has an answer to match",
            where="search.metric",
            do="give records with an `answer`, or search by bits_per_byte",
        )
    rendered = render_all(renderer, conversations)
    size = int(rendered_events(rendered, conversations).bytes.sum())

    def score(folder: Path) -> float:
        ref = replace(pivot, name="trial", model=str(folder), revision=None)
        model = load_model(ref, dtype=dtype, device=device)
        if metric == "bits_per_byte":
            bits = token_bits(
                model, rendered, names=[c.id for c in conversations], device=device,
                batch_tokens=runtime.batch_tokens, progress=ignore,
            )  # fmt: skip
            return bits_per_byte(float(bits.sum()), size)
        assert exact is not None, "the recipe's validator asks for it"
        asked = [conversations[i] for i in places_asked(conversations, exact.limit)]
        answers = exact_match(
            model, renderer, asked, pattern=exact.answer_pattern,
            max_new_tokens=exact.max_new_tokens, device=device, batch_tokens=runtime.batch_tokens, progress=ignore,
        )  # fmt: skip
        return 1.0 - float(np.mean(answers.correct))

    return score


def load_scores(run: Run, part: Part, name: str) -> Scores:
    """The scores of a finished evaluation."""
    folder = verified_folder(run.path(job_id(part, name)))
    raw = read_json(folder / SCORES)
    return Scores(
        np.array(raw["bits"], dtype=np.float64),
        np.array(raw["bytes"], dtype=np.int64),
        [str(d) for d in raw["domain"]],  # type: ignore[union-attr]
        raw["correct"],  # type: ignore[arg-type]
        int(str(raw["parameters"])),
        int(str(raw["unscored_bytes"])),
        *read_events(folder),
        int(str(raw["unfinished_thoughts"])),
    )
