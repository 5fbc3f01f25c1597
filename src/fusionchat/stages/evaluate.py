"""Stage `evaluate`: held-out bits per byte and exact match, one job per model."""

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np

from fusionchat import console
from fusionchat.artifacts import Json, write_json, write_text
from fusionchat.console import ignore, progress
from fusionchat.corpus.conversation import Conversation
from fusionchat.damage import verified
from fusionchat.errors import CorpusError
from fusionchat.evaluate.scores import SCORES, rendered_events, write_events
from fusionchat.evaluate.settings import EvaluateSettings
from fusionchat.models.precision import torch_dtype
from fusionchat.models.ref import ModelRef
from fusionchat.represent.events import add_up, bits_per_byte
from fusionchat.run.estimate import capture_memory, evaluation_cost
from fusionchat.run.job import Content, Context, Inputs, Summary
from fusionchat.run.planned import Run
from fusionchat.runtime import RuntimeSettings
from fusionchat.settings import Frozen
from fusionchat.stages.choice import selected
from fusionchat.stages.corpus import make_renderer, read_part
from fusionchat.stages.names import BEST, CORPUS, SELECTION, Part, Row, evaluated
from fusionchat.stages.represent import render_all
from fusionchat.stages.rows import rows

VERSION = 3  # raised when the same settings and inputs give another output


class Settings(Frozen):
    """All that changes an evaluation but the corpus and the model.

    Attributes:
        part: The part of the corpus.
        row: The model.
        evaluate: What is measured, and the dtype, ``auto`` resolved.
        label_weights: Those that the sweep chose among, the recipe's own first; empty where the row has its own.
    """

    part: Part
    row: Row
    evaluate: EvaluateSettings
    label_weights: tuple[float, ...] = ()


def settings_of(held: Mapping[str, Json]) -> Settings:
    """The settings of a job from their JSON."""
    return Settings.model_validate(held)


def plan(run: Run) -> None:
    """Plan one job a row of the results."""
    for row in rows(run.recipe):
        add_row(run, "test", row)


def add_row(run: Run, part: Part, row: Row) -> None:
    """Plan the evaluation of one model; a sweep's choice is looked up when the job runs."""
    dtype = run.dtypes.of("evaluate.dtype")
    evaluate = run.recipe.evaluate.model_copy(
        update={"dtype": dtype} | ({} if part == "test" else {"exact_match": None})
    )
    content = Content()
    needs: tuple[str, ...] = (CORPUS,)
    weights: tuple[float, ...] = ()
    measured = row.base if row.kind in ("pivot", "source") else "pivot"
    if row.kind in ("pivot", "source"):
        content = run.model(row.base)
    elif row.weight == BEST:
        weights = run.recipe.distill.label_weights
        own = evaluated(part, row.model_copy(update={"weight": weights[0]}))
        needs = (*needs, SELECTION, own, *(row.maker(weight) for weight in weights))
    else:
        needs = (*needs, row.maker(row.weight))
    run.add(
        "evaluate",
        f"{part}/{row.name}",
        Settings(part=part, row=row, evaluate=evaluate, label_weights=weights),
        needs=needs,
        content=content | run.follows(measured),
        cost=evaluation_cost(run.recipe, run.refs[measured], part),
        memory=capture_memory(run.refs[measured], dtype),
    )


def so_far(settings: Settings, inputs: Inputs, out: Path) -> str:
    """Nothing: an unfinished evaluation is made anew."""
    return ""


def model_of(row: Row, weight: float | None, inputs: Inputs) -> ModelRef:
    """The model of a row; targets and merges use the pivot's template."""
    if row.kind in ("pivot", "source"):
        return inputs.model(row.base)
    folder = str(inputs.folder(row.maker(weight)) / "model")
    return replace(inputs.model("pivot"), name=row.name, model=folder, tokenizer=folder, revision=None)


def work(settings: Settings, inputs: Inputs, out: Path, ctx: Context) -> Summary:
    """Score one model; where the sweep chose the recipe's own label weight, its scores are taken over."""
    row = settings.row
    weight = (
        None
        if row.weight is None
        else float(selected(inputs.folder(SELECTION)).label_weight if row.weight == BEST else row.weight)
    )
    if row.weight == BEST and weight == settings.label_weights[0]:
        own = evaluated(settings.part, row.model_copy(update={"weight": weight}))
        for name in inputs.manifest(own).files:
            shutil.copyfile(verified(inputs.folder(own) / name), out / name)
        return inputs.manifest(own).summary
    conversations = read_part(inputs.folder(CORPUS), settings.part)
    return score(settings, conversations, model_of(row, weight, inputs), out, ctx.runtime)


def score(
    settings: Settings,
    conversations: list[Conversation],
    ref: ModelRef,
    folder: Path,
    runtime: RuntimeSettings,
) -> Summary:
    """Write scores.json (by conversation), events.safetensors (by token) and replies.jsonl."""
    from fusionchat.evaluate.tasks.exact_match import exact_match
    from fusionchat.evaluate.tasks.likelihood import token_bits
    from fusionchat.models.device import pick_device
    from fusionchat.models.load import load_model

    name, exact = settings.row.name, settings.evaluate.exact_match
    device = pick_device(runtime.device)
    dtype = torch_dtype(settings.evaluate.dtype, device, where="evaluate.dtype")
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


def validation_score(
    settings: EvaluateSettings,
    metric: Literal["bits_per_byte", "exact_match"],
    corpus: Path,
    pivot: ModelRef,
    runtime: RuntimeSettings,
) -> Callable[[Path], float]:
    """A function that scores a model folder on the validation part by bits per byte or the share of wrong answers.

    Raises:
        CorpusError: Exact match is asked for, and no conversation of the validation part has an answer.
    """
    from fusionchat.evaluate.tasks.exact_match import exact_match
    from fusionchat.evaluate.tasks.likelihood import token_bits
    from fusionchat.models.device import pick_device
    from fusionchat.models.load import load_model

    exact = settings.exact_match
    renderer, device = make_renderer(pivot), pick_device(runtime.device)
    dtype = torch_dtype(settings.dtype, device, where="evaluate.dtype")
    conversations = read_part(corpus, "validation")
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
