"""Stage `corpus`: read, hold out, keep the parts apart, cut to every model's limit, and render.

There is one job.

Each later job depends only on the files that it reads, see `part_file` and `tokens_file`, so another model's
tokens make no capture stale.
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from fusionchat import console
from fusionchat.artifacts import Json, read_json, write_json, write_text
from fusionchat.console import Advance, progress
from fusionchat.corpus.conversation import Conversation, Reject
from fusionchat.corpus.cut import fit
from fusionchat.corpus.entries import Account, at
from fusionchat.corpus.filters import Scalar
from fusionchat.corpus.located import content_of, locate
from fusionchat.corpus.parts import PARTS, count_rejects, count_words, read_parts
from fusionchat.corpus.read import from_record, to_record
from fusionchat.corpus.render import Rendered, Renderer
from fusionchat.corpus.rendered_part import StoredPart, join, read_rendered, write_rendered
from fusionchat.corpus.settings import CorpusFile, CorpusSettings, Domain
from fusionchat.corpus.thoughts import Thinking
from fusionchat.damage import verified
from fusionchat.errors import CorpusError
from fusionchat.models.load import load_config, load_tokenizer, other_template
from fusionchat.models.ref import ModelRef
from fusionchat.run.estimate import corpus_size
from fusionchat.run.job import Content, Context, Cost, Inputs, Place, Summary
from fusionchat.run.plan import Run
from fusionchat.settings import Frozen

VERSION = 6  # raised when the same settings and inputs give another output


class FilePart(Frozen):
    """What is read of an entry of the corpus; its place does not matter.

    Attributes:
        name: The name of its file or pattern: it is part of generated ids, and its ending is the format.
    """

    name: str
    format: str
    split: str
    subset: str | None
    pattern: str
    columns: dict[str, str]
    domain: Domain | None
    filter: dict[str, Scalar | tuple[Scalar, ...]]
    limit: int | None
    share: float | None


class Parts(Frozen):
    """What the corpus is made of, and what is kept of it; a number means that share of train."""

    train: FilePart | tuple[FilePart, ...]
    validation: FilePart | tuple[FilePart, ...] | float
    test: FilePart | tuple[FilePart, ...] | float
    max_tokens: int
    thinking: Thinking


class Settings(Frozen):
    """Everything that changes the corpus except its content.

    Attributes:
        corpus: Its parts.
        seed: Draws the shares; None if nothing is drawn, so that another seed changes nothing.
    """

    corpus: Parts
    seed: int | None


def settings_of(held: Mapping[str, Json]) -> Settings:
    """The settings of a job from their JSON."""
    return Settings.model_validate(held)


def plan(run: Run) -> None:
    """Plan the corpus job."""
    settings = run.recipe.corpus
    content = Content()
    for name in run.refs:
        content |= run.tokenizer(name) | run.configuration(
            name
        )  # the configuration has the length it was built for
    parts: dict[str, FilePart | tuple[FilePart, ...] | float] = {}
    for part in PARTS:
        entries = settings.entries(part)
        for place, entry in entries.items():
            content |= entry_content(place, entry, run.recipe.folder)
        own = tuple(map(file_part, entries.values()))
        parts[part] = (own[0] if part in entries else own) if own else getattr(settings, part)
    shares = [entry.share for part in PARTS for entry in settings.entries(part).values()]
    drawn = any(isinstance(part, float) for part in parts.values()) or any(shares)
    run.add(
        "corpus",
        "corpus",
        Settings(
            corpus=Parts(max_tokens=settings.max_tokens, thinking=settings.thinking, **parts),  # type: ignore[arg-type]
            seed=run.recipe.seed if drawn else None,
        ),
        content=content,
        cost=Cost(corpus_size(run.recipe), 0.0),
        stands_for=tuple(file for part in PARTS for file in files_of(part, *run.refs)),
    )


def entry_content(place: str, entry: CorpusFile, folder: str) -> Content:
    """What an entry is and where; raises CorpusError with its path in the recipe if it does not exist."""
    try:
        path = locate(entry.path, folder, entry.revision).path
        digest = content_of(path, entry.revision)
    except CorpusError as error:
        raise at(place, error) from error
    return Content({f"corpus {place}": digest}, files={place: Place(path=path, revision=entry.revision)})


def file_part(entry: CorpusFile) -> FilePart:
    """The parts of an entry that decide what is read."""
    own = entry.model_dump(exclude={"path", "revision"})
    return FilePart(name=Path(entry.path).name, **own)


def part_file(part: str) -> str:
    """The file with the conversations of a part, in the folder of the corpus job."""
    return f"{part}.jsonl"


def tokens_file(part: str, model: str) -> str:
    """The file with the renderings of a part for a model, in the folder of the corpus job."""
    return f"tokens/{model}/{part}.safetensors"


def files_of(part: str, *models: str) -> tuple[str, ...]:
    """The conversations of a part, and their renderings for some models."""
    return part_file(part), *(tokens_file(part, model) for model in models)


def so_far(settings: Settings, inputs: Inputs, out: Path) -> str:
    """Nothing, since an unfinished corpus starts over."""
    return ""


def corpus_settings(settings: Settings, inputs: Inputs) -> CorpusSettings:
    """The recipe's settings again, with the places of the files."""

    def entry(place: str, held: FilePart) -> CorpusFile:
        where = inputs.file(place)
        own = held.model_dump(exclude={"name"})
        return CorpusFile(path=where.path, revision=where.revision, **own)

    def part(name: str) -> CorpusFile | tuple[CorpusFile, ...] | float:
        held = getattr(settings.corpus, name)
        if isinstance(held, FilePart):
            return entry(name, held)
        if isinstance(held, tuple):
            return tuple(entry(f"{name}.{i}", one) for i, one in enumerate(held))
        return float(held)

    train = part("train")
    assert not isinstance(train, float)
    return CorpusSettings(
        train=train,
        validation=part("validation"),
        test=part("test"),
        max_tokens=settings.corpus.max_tokens,
        thinking=settings.corpus.thinking,
    )


def work(settings: Settings, inputs: Inputs, out: Path, ctx: Context) -> Summary:
    """Write the parts, each model's renderings of them, and what was rejected.

    These are ``train.jsonl`` ..., ``tokens/MODEL/train.safetensors`` ... and ``rejects.jsonl``, with the
    counts of rejects, unused keys and notes.

    ``rejects.jsonl``, and the counts of rejects, unused keys and notes.
    """
    # First the models, so that an error of one is reported before a large corpus is read.
    renderers = [
        (make_renderer(ref, rows=head_rows(ref)), limit) for ref, limit in token_limits(settings, inputs)
    ]
    parts, rejects, unused, changed, accounts = read_parts(
        corpus_settings(settings, inputs), "", seed=settings.seed or 0
    )
    for account in accounts:
        if account.left:
            console.say(f"corpus: {account}")
    if unused:
        console.warn(f"corpus: keys of records that are not used: {count_words(unused)}")
    notes: Counter[str] = Counter(changed)
    summary: Summary = {}
    total = sum(len(part) for part in parts)
    with progress("corpus", total, "conversations") as advance:
        for name, conversations in zip(PARTS, parts, strict=True):
            before = len(rejects)
            kept, rendered = _fit_all(conversations, renderers, rejects, notes, advance)
            if not kept:
                raise CorpusError(
                    f"No conversation of the {name} part can be used: {reasons(rejects[before:], len(conversations))}",
                    where=f"corpus.{name}",
                    do="see `fusionchat check`; set another `template:` for the model, or leave it out",
                )
            write_text(out / part_file(name), part_text(kept))
            for model, renderings in rendered.items():
                write_rendered(out / tokens_file(name, model), join(renderings))
            summary[name] = {"conversations": len(kept), "bytes": sum(c.supervised_bytes for c in kept)}
    write_text(out / "rejects.jsonl", "".join(_line(r._asdict()) for r in rejects))
    write_json(out / "rejects.json", dict(count_rejects(rejects)))
    write_json(out / "unused.json", dict(unused))
    write_json(out / "notes.json", dict(sorted(notes.items())))
    for cause, count in count_rejects(rejects).items():
        if 2 * count > total:
            console.warn(f"corpus: {cause}: {count} of {total} conversations are not used")
    for note, count in sorted(notes.items()):
        console.warn(f"corpus: {note} ({count} of {total} conversations)")
    return summary | {
        "entries": [entry_json(account) for account in accounts],
        "rejects": dict(count_rejects(rejects)),
        "unused": dict(unused),
        "notes": dict(sorted(notes.items())),
    }


def entry_json(account: Account) -> Json:
    """An entry's account for the stage's report."""
    return {**account._asdict(), "left": dict(account.left), "records": account.records}


def _line(record: Mapping[str, object]) -> str:
    return json.dumps(record, ensure_ascii=False) + "\n"


def reasons(rejects: list[Reject], size: int) -> str:
    """Why conversations cannot be used, with the model, an example, and how many of ``size``."""
    first = {r.cause: r.example if not r.model else f"{r.model}: {r.example}" for r in reversed(rejects)}
    return "; ".join(f"{first[cause]} ({count} of {size})" for cause, count in count_rejects(rejects).items())


def _fit_all(
    conversations: Sequence[Conversation],
    renderers: list[tuple[Renderer, int]],
    rejects: list[Reject],
    notes: Counter[str],
    advance: Advance,
) -> tuple[list[Conversation], dict[str, list[Rendered]]]:
    """The conversations that are kept, with their renderings by model."""
    kept: list[Conversation] = []
    renderings: dict[str, list[Rendered]] = {renderer.name: [] for renderer, _ in renderers}
    for conversation in conversations:
        fitted = fit(conversation, renderers)
        if isinstance(fitted, Reject):
            rejects.append(fitted)
        else:
            notes.update(map(str, fitted.notes))
            kept.append(fitted.conversation)
            for renderer, _ in renderers:
                rendered = renderer.render(fitted.conversation)
                assert not isinstance(rendered, Reject), "what fits renders"
                renderings[renderer.name].append(rendered)
        advance(1)
    return kept, renderings


def make_renderer(ref: ModelRef, *, rows: int | None = None) -> Renderer:
    """The renderer of a model of the recipe; ``rows`` as for `Renderer`."""
    tokenizer, template = load_tokenizer(ref), other_template(ref)
    return Renderer(
        tokenizer,
        template=template,
        variables=ref.variables,
        thinking=ref.thinking,
        name=ref.name,
        rows=rows,
    )


def head_rows(ref: ModelRef) -> int | None:
    """The number of tokens that a model has rows for, from its configuration."""
    size = getattr(load_config(ref).get_text_config(), "vocab_size", None)
    return size if isinstance(size, int) else None


def token_limits(settings: Settings, inputs: Inputs) -> list[tuple[ModelRef, int]]:
    """Each model and its most tokens of a conversation: the recipe's, or those that it was built for."""
    return [(ref, limit_of(ref, settings.corpus.max_tokens)) for ref in inputs.job.models.values()]


def limit_of(ref: ModelRef, wanted: int) -> int:
    """The most tokens of a conversation for a model: ``wanted``, or less if it was built for less."""
    built_for = getattr(load_config(ref).get_text_config(), "max_position_embeddings", None)
    return min(wanted, built_for) if built_for else wanted


def part_text(conversations: Sequence[Conversation]) -> str:
    """The content of a part's file, one conversation per line."""
    return "".join(_line(to_record(one)) for one in conversations)


def read_part(folder: Path, part: str) -> list[Conversation]:
    """The conversations of a part, from the folder of a finished corpus job."""
    text = verified(folder / part_file(part)).read_text(encoding="utf-8")
    return [from_record(json.loads(line)) for line in text.split("\n") if line]


def read_tokens(folder: Path, part: str, model: str) -> StoredPart:
    """The renderings of a part for a model, from the folder of a finished corpus job."""
    return read_rendered(folder / tokens_file(part, model))


def read_counts(folder: Path, name: Literal["rejects", "notes", "unused"]) -> dict[str, int]:
    """Counts of a finished corpus job.

    Args:
        folder: The job's folder.
        name: ``rejects``: records that are not used, by reason; ``notes``: conversations in which a template or tokenizer
            changes something, by what it does; ``unused``: records with a key that nothing reads, by key.
    """
    return {k: int(str(v)) for k, v in read_json(verified(folder / f"{name}.json")).items()}
