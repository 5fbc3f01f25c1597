"""Stage `answer`: before a later round, each target answers questions of the corpus.

There is one job for each target and round.

Its folder is a corpus as the stage `corpus` writes it, of the training part alone: conversations that were
drawn have the target's own answers, the others are unchanged, all in their old places.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from fusionchat.answer.question import Question, question_of
from fusionchat.answer.shards import FILES, make_shard, read_shard, shards, work_on
from fusionchat.artifacts import Json, read_json, write_json, write_text
from fusionchat.console import progress
from fusionchat.corpus.conversation import Conversation, Reject
from fusionchat.corpus.cut import fit
from fusionchat.corpus.parts import count_rejects
from fusionchat.corpus.render import Rendered, Renderer
from fusionchat.corpus.rendered_part import join, write_rendered
from fusionchat.corpus.shares import draw
from fusionchat.damage import verified, verified_folder
from fusionchat.models.ref import made_of
from fusionchat.run.estimate import capture_cost, capture_memory, corpus_size
from fusionchat.run.job import Context, Cost, Inputs, Summary
from fusionchat.run.plan import Run
from fusionchat.settings import Frozen
from fusionchat.stages.answering import Draws, answering
from fusionchat.stages.corpus import (
    files_of,
    limit_of,
    make_renderer,
    part_file,
    part_text,
    read_part,
    read_tokens,
    tokens_file,
)
from fusionchat.stages.names import CORPUS, Trained, answered, distilled
from fusionchat.units import counted

VERSION = 1  # raised when the same settings and inputs give another output
OWN = "own.json"


class Settings(Frozen):
    """Everything that changes the answers except the corpus and the target.

    Attributes:
        of: The target in the round that its answers are for.
        sources: The models that will score its answers, beside the pivot.
        share: The share of the training part that is answered.
        draws: How tokens are sampled, and which questions are drawn.
        max_tokens: The longest conversation, in each model's tokens.
    """

    of: Trained
    sources: tuple[str, ...]
    share: float
    draws: Draws
    max_tokens: int


def settings_of(held: Mapping[str, Json]) -> Settings:
    """The settings of a job from their JSON."""
    return Settings.model_validate(held)


def plan_answers(run: Run, of: Trained, sources: tuple[str, ...], seed: int) -> None:
    """Plan the answers of one target for a later round."""
    recipe, ref = run.recipe, run.refs["pivot"]
    flops = capture_cost(recipe, ref).flops
    sampling, dtype = recipe.rounds.sampling, run.resolved.dtype("represent.dtype")
    content = run.tokenizer("pivot") | run.configuration("pivot")
    for name in sources:
        content |= run.tokenizer(name) | run.configuration(name)
    run.add(
        "answer",
        answered(of).removeprefix("answer/"),
        Settings(
            of=of,
            sources=sources,
            share=recipe.rounds.share,
            draws=Draws(sampling=sampling, seed=seed, dtype=dtype),
            max_tokens=recipe.corpus.max_tokens,
        ),
        needs=(CORPUS, distilled(of.before)),
        reads={CORPUS: files_of("train", "pivot", *sources)},
        content=content | run.follows("pivot"),
        cost=Cost(corpus_size(recipe), None if flops is None else recipe.rounds.share * flops),
        memory=capture_memory(ref, dtype),
        on_device=True,
    )


def so_far(settings: Settings, inputs: Inputs, out: Path) -> str:
    """The number of finished files of answers, in words."""
    return counted(len(list(out.glob(FILES))), "file") + " of answers"


class Taken(NamedTuple):
    """The training part of a later round.

    Attributes:
        conversations: The conversations, in their old places.
        rendered: Their renderings by model.
        own: Which of them have the target's own answers.
    """

    conversations: list[Conversation]
    rendered: dict[str, list[Rendered]]
    own: list[int]


def work(settings: Settings, inputs: Inputs, out: Path, ctx: Context) -> Summary:
    """Answer the questions, file by file, and write the training part with the answers, and ``own.json``."""
    conversations = read_part(inputs.folder(CORPUS), "train")
    chosen, questions, rejects = drawn(settings, conversations)
    ask_missing(settings, questions, inputs, out, ctx)
    found = [one for index in range(len(shards(len(questions)))) for one in read_shard(out, index)]
    replies = dict(zip(chosen, found, strict=True))
    taken, more = take(settings, conversations, replies, inputs)
    write_text(out / part_file("train"), part_text(taken.conversations))
    for model, renderings in taken.rendered.items():
        write_rendered(out / tokens_file("train", model), join(renderings))
    write_json(out / OWN, {"own": taken.own})
    cut = sum(isinstance(one, Conversation) and not one.messages[-1].complete for one in found)
    return {
        "questions": len(questions) + len(rejects),
        "answers": len(taken.own),
        "cut": cut,
        "rejects": dict(count_rejects([*rejects, *more])),
        "bytes": sum(taken.conversations[i].supervised_bytes for i in taken.own),
    }


def drawn(
    settings: Settings, conversations: Sequence[Conversation]
) -> tuple[list[int], list[Question], list[Reject]]:
    """Which conversations are answered again, their questions, and the drawn ones without a question."""
    size = max(1, round(settings.share * len(conversations)))
    places = draw(conversations, size, seed=settings.draws.seed, part=f"round {settings.of.round}")
    chosen, questions, rejects = list[int](), list[Question](), list[Reject]()
    for place in places:
        question = question_of(conversations[place], settings.draws.sampling.turns)
        if isinstance(question, Reject):
            rejects.append(question)
        else:
            chosen.append(place)
            questions.append(question)
    return chosen, questions, rejects


def ask_missing(
    settings: Settings, questions: Sequence[Question], inputs: Inputs, out: Path, ctx: Context
) -> None:
    """Make the missing files of answers; the target is loaded only if some are missing."""
    left = work_on(out, questions)
    if not left.missing:
        return
    folder = verified_folder(inputs.folder(distilled(settings.of.before)) / "model")
    ref = made_of(inputs.model("pivot"), folder, str(settings.of.before))
    with (
        progress(inputs.job.label, left.asks, "prompts", before=left.made) as advance,
        answering(ref, settings.draws, ctx.runtime, advance=advance) as ask,
    ):
        for index in left.missing:
            make_shard(out, index, questions, ask)


def take(
    settings: Settings,
    conversations: Sequence[Conversation],
    replies: Mapping[int, Conversation | Reject],
    inputs: Inputs,
) -> tuple[Taken, list[Reject]]:
    """The training part with the answers that every model can use, and why others were rejected."""
    names = ("pivot", *settings.sources)
    renderers = [renderer_of(name, settings, inputs) for name in names]
    before = {name: read_tokens(inputs.folder(CORPUS), "train", name) for name in names}
    taken, rejects = Taken([], {name: [] for name in names}, []), list[Reject]()
    for place, conversation in enumerate(conversations):
        reply = replies.get(place)
        fitted = fit(reply, renderers) if isinstance(reply, Conversation) else reply
        if isinstance(fitted, Reject):
            rejects.append(fitted)
        if fitted is None or isinstance(fitted, Reject):
            taken.conversations.append(conversation)
            for name in names:
                taken.rendered[name].append(before[name][place])
            continue
        taken.conversations.append(fitted.conversation)
        taken.own.append(place)
        for renderer, _ in renderers:
            rendered = renderer.render(fitted.conversation)
            assert not isinstance(rendered, Reject), "what fits renders"
            taken.rendered[renderer.name].append(rendered)
    return taken, rejects


def renderer_of(name: str, settings: Settings, inputs: Inputs) -> tuple[Renderer, int]:
    """A model's renderer, and its most tokens of a conversation."""
    ref = inputs.model(name)
    return make_renderer(ref), limit_of(ref, settings.max_tokens)


def own_answers(corpus: Path) -> set[int]:
    """The conversations whose answers are a target's own; none in the folder of the corpus itself."""
    if not (corpus / OWN).is_file():
        return set()
    held = read_json(verified(corpus / OWN))["own"]
    assert isinstance(held, list)
    return {int(str(one)) for one in held}
