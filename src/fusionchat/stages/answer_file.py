"""Answers of one model to a file of prompts, as a corpus; a killed call continues where it stopped."""

import json
import shutil
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import NamedTuple

from fusionchat.answer.question import Ask, Question, question_of
from fusionchat.answer.settings import Sampling
from fusionchat.answer.shards import make_shard, read_shard, shards, work_on
from fusionchat.artifacts import (
    Json,
    machine_errors,
    make_folder,
    read_json,
    read_manifest,
    write_json,
    write_text,
)
from fusionchat.console import progress
from fusionchat.corpus.conversation import Conversation, Reject
from fusionchat.corpus.located import content_of, locate
from fusionchat.corpus.parts import count_rejects
from fusionchat.corpus.prompts import read_prompts
from fusionchat.corpus.read import to_record
from fusionchat.distill.seeds import nth
from fusionchat.errors import ArtifactError, CorpusError, RecipeError
from fusionchat.lease import lease
from fusionchat.models.identity import identity, tokenizer_identity
from fusionchat.models.ref import ModelRef, made_of
from fusionchat.recipe.schema import Recipe
from fusionchat.represent.capture import DEFAULT, AnyCapturer
from fusionchat.run.auto import resolve
from fusionchat.settings import no_such
from fusionchat.stages.answering import Draws, answering
from fusionchat.stages.names import FUSED, Trained, distilled
from fusionchat.stages.variants import targets

VERSION = 1  # raised when the same settings and inputs give different answers
ABOUT = "answers.json"
TARGET = "target"
"""The name that may be used for the target of a recipe with one source."""


class Written(NamedTuple):
    """What a file of answers contains, and what was left out.

    Attributes:
        path: The file.
        answers: Conversations in it.
        cut: Answers that were cut at the most tokens; they are left out, since they have no end.
        rejects: Prompts without an answer, by reason.
    """

    path: Path
    answers: int
    cut: int
    rejects: dict[str, int]


def write_answers(
    recipe: Recipe,
    model: str,
    prompts: str,
    output: Path,
    *,
    sampling: Sampling,
    samples: int = 1,
    seed: int = 0,
) -> Written:
    """Ask a model and write its answers as a corpus of messages, with its name in the column ``model``.

    Args:
        recipe: Its models, and how they are opened.
        model: As `model_of` takes it.
        prompts: A file, pattern or data set as `corpus.train` of a recipe takes it, with or without answers.
        output: The file that is written. Until then, finished answers are in a folder beside it.
        sampling: How tokens are drawn.
        samples: Answers to each prompt; those after the first have ``#2``, ``#3`` ... in their ids.
        seed: The seed of the draws: an answer depends on it, on its prompt's id and on the model.

    Raises:
        RecipeError: There is no such model.
        ArtifactError: It is not trained yet, the file exists, or the folder beside it belongs to another
            call.
        CorpusError: No prompt can be used, or nothing was answered.
    """
    folder = output.with_name(f"{output.name}.parts")
    if output.exists() and not folder.exists():
        raise ArtifactError(
            "This file already exists", where=str(output), do="remove it, or choose another --output"
        )
    ref, capturer = model_of(recipe, model)
    read = read_prompts(prompts)
    questions, rejects = questions_of(read.conversations, sampling, samples)
    rejects += read.rejects
    draws = Draws(sampling=sampling, seed=seed, dtype=resolve(recipe).dtype("represent.dtype"))
    held: dict[str, Json] = {
        "version": VERSION,
        "model": identity(ref),
        "tokenizer": tokenizer_identity(ref),
        "prompts": content_of(locate(prompts).path, None),
        "samples": samples,
        **draws.model_dump(mode="json"),
    }
    make_folder(folder)
    with machine_errors(folder), lease(folder / ".lease", "Another process is making these answers"):
        require_same(folder, held)
        write_json(folder / ABOUT, held)
        ask_missing(
            folder, questions, model, partial(answering, ref, draws, recipe.runtime, capturer=capturer)
        )
        found = [one for i in range(len(shards(len(questions)))) for one in read_shard(folder, i)]
        written = write_found(output, found, model, rejects)
    shutil.rmtree(folder)
    return written


Opened = Callable[..., AbstractContextManager[Ask]]
"""Opens a model, given ``advance``."""


def ask_missing(folder: Path, questions: Sequence[Question], model: str, opened: Opened) -> None:
    """Make the missing files; the model is opened only if some are missing."""
    left = work_on(folder, questions)
    if not left.missing:
        return
    with (
        progress(f"answer {model}", left.asks, "prompts", before=left.made) as advance,
        opened(advance=advance) as ask,
    ):
        for index in left.missing:
            make_shard(folder, index, questions, ask)


def model_of(recipe: Recipe, name: str) -> tuple[ModelRef, AnyCapturer]:
    """The model of a recipe with that name, and how it is captured.

    Args:
        recipe: The recipe.
        name: ``pivot``, a source, ``target`` where there is one, ``fused``, or a job that trains or merges a model
            (``distill/qwen@0.9``, as `plan` lists it).

    Raises:
        RecipeError: There is no such model.
        ArtifactError: The job that makes it is not done.
    """
    refs = recipe.refs()
    if name in refs:
        return refs[name], recipe.models[name].capture
    made = [
        distilled(Trained(base=base, weight=recipe.distill.label_weight, number=1))
        for base in targets(recipe)
    ]
    jobs = {"fused": FUSED, **({TARGET: made[0]} if len(made) == 1 else {})}
    job = jobs.get(name, name)
    if "/" not in job:
        raise RecipeError(no_such("model", name, [*refs, *jobs, *made]), where="--model")
    folder = recipe.run_folder / job
    if read_manifest(folder) is None or not (folder / "model").is_dir():
        raise ArtifactError(
            f"There is no model of {job} yet",
            where=str(folder),
            do="run the recipe first; `fusionchat plan` lists its jobs",
        )
    return made_of(refs["pivot"], folder / "model", job), DEFAULT


def questions_of(
    conversations: Sequence[Conversation], sampling: Sampling, samples: int
) -> tuple[list[Question], list[Reject]]:
    """The questions, each repeated for its samples, and the conversations without a question."""
    questions, rejects = list[Question](), list[Reject]()
    for conversation in conversations:
        question = question_of(conversation, sampling.turns)
        if isinstance(question, Reject):
            rejects.append(question)
        else:
            questions += [question._replace(id=nth(question.id, k)) for k in range(1, samples + 1)]
    return questions, rejects


def require_same(folder: Path, held: dict[str, Json]) -> None:
    """Raise ArtifactError if a folder has the answers of another call."""
    if (folder / ABOUT).is_file() and read_json(folder / ABOUT) != held:
        raise ArtifactError(
            "This folder holds answers of another model, of other prompts or of other settings",
            where=str(folder),
            do="remove it, or choose another --output",
        )


def write_found(
    output: Path, found: Sequence[Conversation | Reject], model: str, rejects: Sequence[Reject]
) -> Written:
    """Write the complete answers; raises CorpusError if there are none."""
    answers = [one for one in found if isinstance(one, Conversation)]
    whole = [one for one in answers if one.messages[-1].complete]
    refused = count_rejects([*rejects, *(one for one in found if isinstance(one, Reject))])
    if not whole:
        raise CorpusError(
            f"No answer is complete: {len(answers)} answers were cut, and {dict(refused)}",
            where=str(output),
            do="raise --max-new-tokens, or check the model's chat template",
        )
    lines = [{**to_record(one), "model": model} for one in whole]
    write_text(output, "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))
    return Written(output, len(whole), len(answers) - len(whole), refused)
