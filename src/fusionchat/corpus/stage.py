"""Stage `corpus`: read, hold out, remove near-duplicates, cut to what every model can take. One job."""

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from fusionchat.artifacts import read_json, sha256_file, write_json, write_text
from fusionchat.console import Advance, progress
from fusionchat.corpus.conversation import Conversation, Reject
from fusionchat.corpus.overlap import near_duplicates
from fusionchat.corpus.read import ReadCorpus, from_record, read_corpus, to_record
from fusionchat.corpus.render import Renderer, fit
from fusionchat.errors import CorpusError
from fusionchat.estimate import corpus_size
from fusionchat.jobs import Cost, Run, Summary
from fusionchat.models import ModelRef, load_config, load_tokenizer, other_template
from fusionchat.recipe import CorpusFile, CorpusSettings

VERSION = 1  # raised when the same settings and inputs give another output
JOB = "corpus/corpus"
PARTS = ("train", "validation", "test")


class Parts(NamedTuple):
    """The three parts of a corpus as read, before any model has looked at them."""

    train: list[Conversation]
    validation: list[Conversation]
    test: list[Conversation]


def plan(run: Run) -> None:
    """Plan the corpus job."""
    settings = run.recipe.corpus
    content: dict[str, str] = {}
    for name in run.refs:
        content |= run.tokenizer(name) | run.configuration(name)  # of the latter, the length it was built for
    files = {}
    for part in PARTS:
        source = getattr(settings, part)
        if isinstance(source, CorpusFile):
            path = locate(source, run.recipe.folder)
            content[f"corpus {part}"] = content_of(path)
            # The name is in the ids that are made up, and its ending says what format it is.
            files[part] = source.model_dump(exclude={"path"}) | {"name": Path(path).name}
        else:
            files[part] = source
    run.add(
        "corpus",
        "corpus",
        lambda folder: work(run, folder),
        settings={"corpus": {"max_tokens": settings.max_tokens, **files}},
        content=content,
        cost=Cost(corpus_size(run.recipe), 0.0),
        stands_for=tuple(f"{part}.jsonl" for part in PARTS),
    )


def content_of(path: str) -> str:
    """What identifies the content of a corpus file."""
    return sha256_file(Path(path)) if Path(path).is_file() else path


def locate(source: CorpusFile, folder: str) -> str:
    """The file a recipe means, or the name itself where it can only be a hub dataset.

    Raises:
        CorpusError: It looks like a file and is not there.
    """
    for candidate in (Path(folder) / source.path, Path(source.path)):
        if candidate.exists():
            return str(candidate)
    if source.path.startswith((".", "/")) or source.path.count("/") > 1 or Path(source.path).suffix:
        raise CorpusError(
            "There is no such corpus file", where=source.path, do="paths are relative to the recipe"
        )
    return source.path


def work(run: Run, folder: Path) -> Summary:
    """Write train.jsonl, validation.jsonl, test.jsonl and rejects.jsonl."""
    parts, rejects = read_parts(run.recipe.corpus, run.recipe.folder)
    renderers = [(make_renderer(ref), limit) for ref, limit in token_limits(run)]
    summary: Summary = {}
    total = sum(len(part) for part in parts)
    with progress("corpus", total) as advance:
        for name, conversations in zip(PARTS, parts, strict=True):
            kept = list(_fit_all(conversations, renderers, rejects, advance))
            if not kept:
                raise CorpusError(
                    f"No conversation of the {name} part can be used",
                    where=f"corpus.{name}",
                    do=f"reasons: {_count(rejects)}",
                )
            write_text(folder / f"{name}.jsonl", "".join(_line(to_record(c)) for c in kept))
            summary[name] = {"conversations": len(kept), "bytes": sum(c.supervised_bytes for c in kept)}
    write_text(folder / "rejects.jsonl", "".join(_line(r._asdict()) for r in rejects))
    write_json(folder / "rejects.json", dict(_count(rejects)))
    return summary | {"rejects": dict(_count(rejects))}


def _line(record: dict[str, object]) -> str:
    return json.dumps(record, ensure_ascii=False) + "\n"


def _count(rejects: list[Reject]) -> dict[str, int]:
    return dict(sorted(Counter(reject.reason for reject in rejects).items()))


def _fit_all(
    conversations: list[Conversation],
    renderers: list[tuple[Renderer, int]],
    rejects: list[Reject],
    advance: Advance,
) -> Iterator[Conversation]:
    for conversation in conversations:
        fitted = fit(conversation, renderers)
        if isinstance(fitted, Reject):
            rejects.append(fitted)
        else:
            yield fitted
        advance(1)


def read_parts(settings: CorpusSettings, folder: str) -> tuple[Parts, list[Reject]]:
    """Read the three parts; shares are taken from the end of train, near-duplicates of them leave it, counted."""
    train, rejects = _read(settings.train, folder)
    held: dict[str, list[Conversation]] = {}
    for name in ("test", "validation"):
        source = getattr(settings, name)
        if isinstance(source, CorpusFile):
            held[name], more = _read(source, folder)
            rejects += more
        else:
            size = max(1, round(len(train) * source))
            train, held[name] = train[:-size], train[-size:]
    flags = near_duplicates(train, held["test"] + held["validation"])
    rejects += [
        Reject(c.id, "near-duplicate of a held-out one") for c, f in zip(train, flags, strict=True) if f
    ]
    train = [c for c, flag in zip(train, flags, strict=True) if not flag]
    if not train:
        raise CorpusError(
            "Nothing is left to train on", where="corpus.train", do=f"reasons: {_count(rejects)}"
        )
    return Parts(train, held["validation"], held["test"]), rejects


def _read(source: CorpusFile, folder: str) -> ReadCorpus:
    return read_corpus(
        locate(source, folder),
        format=source.format,
        split=source.split,
        pattern=source.pattern,
        limit=source.limit,
    )


def make_renderer(ref: ModelRef) -> Renderer:
    """The renderer of a model of the recipe."""
    return Renderer(load_tokenizer(ref), template=other_template(ref), name=ref.name)


def token_limits(run: Run) -> list[tuple[ModelRef, int]]:
    """Each model and the most tokens a conversation may have for it: the recipe's, or what it was built for."""
    limits = []
    for ref in run.refs.values():
        built_for = getattr(load_config(ref).get_text_config(), "max_position_embeddings", None)
        wanted = run.recipe.corpus.max_tokens
        limits.append((ref, min(wanted, built_for) if built_for else wanted))
    return limits


def read_part(run: Run, part: str) -> list[Conversation]:
    """The conversations of a finished corpus job."""
    text = (run.path(JOB) / f"{part}.jsonl").read_text(encoding="utf-8")
    return [from_record(json.loads(line)) for line in text.split("\n") if line]


def reject_counts(run: Run) -> dict[str, int]:
    """Rejected records of a finished corpus job by reason."""
    return {k: int(str(v)) for k, v in read_json(run.path(JOB) / "rejects.json").items()}
