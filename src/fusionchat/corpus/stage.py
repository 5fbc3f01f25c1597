"""Stage `corpus`: read, hold out, keep the parts apart, cut to what every model can take. One job."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

from fusionchat import console
from fusionchat.artifacts import Json, read_json, sha256_file, write_json, write_text
from fusionchat.console import Advance, progress
from fusionchat.corpus.conversation import Conversation, Reject
from fusionchat.corpus.cut import fit
from fusionchat.corpus.parts import PARTS, count_rejects, count_words, locate, read_parts
from fusionchat.corpus.read import from_record, to_record
from fusionchat.corpus.render import Renderer
from fusionchat.damage import verified
from fusionchat.errors import CorpusError
from fusionchat.estimate import corpus_size
from fusionchat.hub import hub_commit
from fusionchat.jobs import Cost, Run, Summary
from fusionchat.models import ModelRef, load_config, load_tokenizer, other_template
from fusionchat.recipe import CorpusFile, Recipe

VERSION = 4  # raised when the same settings and inputs give another output
JOB = "corpus/corpus"


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
            content[f"corpus {part}"] = content_of(path, source.revision)
            # The name is in the ids that are made up, and its ending says what format it is.
            files[part] = source.model_dump(exclude={"path", "revision"}) | {"name": Path(path).name}
        else:
            files[part] = source
    run.add(
        "corpus",
        "corpus",
        lambda folder: work(run, folder),
        settings=drawn_by(run.recipe)
        | {"corpus": {"max_tokens": settings.max_tokens, "thinking": settings.thinking, **files}},
        content=content,
        cost=Cost(corpus_size(run.recipe), 0.0),
        stands_for=tuple(f"{part}.jsonl" for part in PARTS),
    )


def drawn_by(recipe: Recipe) -> dict[str, Json]:
    """The seed, where it draws a part: another seed leaves parts that are files as they are."""
    shares = [part for part in PARTS if isinstance(getattr(recipe.corpus, part), float)]
    return {"seed": recipe.seed} if shares else {}


def content_of(path: str, revision: str | None) -> str:
    """What identifies the content of a corpus: a file's checksum, or a hub dataset's name and commit."""
    if Path(path).is_file():
        return sha256_file(Path(path))
    return f"hub:{path}@{hub_commit('datasets', path, revision)}"


def work(run: Run, folder: Path) -> Summary:
    """Write the parts (``train.jsonl`` ...), ``rejects.jsonl``, and the counts of rejects, unused keys and notes."""
    # First the models: what is wrong with one is said before a large corpus is read.
    renderers = [(make_renderer(ref, rows=head_rows(ref)), limit) for ref, limit in token_limits(run)]
    parts, rejects, unused, changed = read_parts(run.recipe.corpus, run.recipe.folder, seed=run.recipe.seed)
    if unused:
        console.warn(f"corpus: keys of records that are not used: {count_words(unused)}")
    notes: Counter[str] = Counter(changed)
    summary: Summary = {}
    total = sum(len(part) for part in parts)
    with progress("corpus", total, "conversations") as advance:
        for name, conversations in zip(PARTS, parts, strict=True):
            before = len(rejects)
            kept = list(_fit_all(conversations, renderers, rejects, notes, advance))
            if not kept:
                raise CorpusError(
                    f"No conversation of the {name} part can be used: {reasons(rejects[before:], len(conversations))}",
                    where=f"corpus.{name}",
                    do="see `fusionchat check`; give the model another `template:`, or leave it out",
                )
            write_text(folder / f"{name}.jsonl", "".join(_line(to_record(c)) for c in kept))
            summary[name] = {"conversations": len(kept), "bytes": sum(c.supervised_bytes for c in kept)}
    write_text(folder / "rejects.jsonl", "".join(_line(r._asdict()) for r in rejects))
    write_json(folder / "rejects.json", dict(count_rejects(rejects)))
    write_json(folder / "unused.json", dict(unused))
    write_json(folder / "notes.json", dict(sorted(notes.items())))
    for cause, count in count_rejects(rejects).items():
        if 2 * count > total:
            console.warn(f"corpus: {cause}: {count} of {total} conversations are not used")
    for note, count in sorted(notes.items()):
        console.warn(f"corpus: {note} ({count} of {total} conversations)")
    return summary | {
        "rejects": dict(count_rejects(rejects)),
        "unused": dict(unused),
        "notes": dict(sorted(notes.items())),
    }


def _line(record: Mapping[str, object]) -> str:
    return json.dumps(record, ensure_ascii=False) + "\n"


def reasons(rejects: list[Reject], size: int) -> str:
    """Why conversations cannot be used, with the model that cannot, an example, and how many of ``size``."""
    first = {r.cause: r.example if not r.model else f"{r.model}: {r.example}" for r in reversed(rejects)}
    return "; ".join(f"{first[cause]} ({count} of {size})" for cause, count in count_rejects(rejects).items())


def _fit_all(
    conversations: list[Conversation],
    renderers: list[tuple[Renderer, int]],
    rejects: list[Reject],
    notes: Counter[str],
    advance: Advance,
) -> Iterator[Conversation]:
    for conversation in conversations:
        fitted = fit(conversation, renderers)
        if isinstance(fitted, Reject):
            rejects.append(fitted)
        else:
            notes.update(map(str, fitted.notes))
            yield fitted.conversation
        advance(1)


def make_renderer(ref: ModelRef, *, rows: int | None = None) -> Renderer:
    """The renderer of a model of the recipe; ``rows`` as for `Renderer`."""
    tokenizer, template = load_tokenizer(ref), other_template(ref)
    return Renderer(tokenizer, template=template, thinking=ref.thinking, name=ref.name, rows=rows)


def head_rows(ref: ModelRef) -> int | None:
    """How many tokens a model has rows for, by its configuration."""
    size = getattr(load_config(ref).get_text_config(), "vocab_size", None)
    return size if isinstance(size, int) else None


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
    text = verified(run.path(JOB) / f"{part}.jsonl").read_text(encoding="utf-8")
    return [from_record(json.loads(line)) for line in text.split("\n") if line]


def reject_counts(run: Run) -> dict[str, int]:
    """Rejected records of a finished corpus job by reason."""
    return {k: int(str(v)) for k, v in read_json(verified(run.path(JOB) / "rejects.json")).items()}


def note_counts(run: Run) -> dict[str, int]:
    """In how many conversations of a finished corpus job a template or tokenizer changes something, by what it does."""
    return {k: int(str(v)) for k, v in read_json(verified(run.path(JOB) / "notes.json")).items()}


def unused_counts(run: Run) -> dict[str, int]:
    """How many records of a finished corpus job have a key that nothing reads, by key."""
    return {k: int(str(v)) for k, v in read_json(verified(run.path(JOB) / "unused.json")).items()}
