"""What an artifact contains: a run, a job, a store, a model, a file; and a decoded conversation."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np

from fusionchat.arrays import shapes_in
from fusionchat.artifacts import MANIFEST, Json, Manifest, read_json, read_manifest
from fusionchat.errors import ArtifactError, DamagedError
from fusionchat.represent.store.layout import LABEL_LOGPROB, SHARDS
from fusionchat.represent.store.read import DistributionStore
from fusionchat.represent.topk import TopK
from fusionchat.run.order import ORDERS
from fusionchat.stages.corpus import make_renderer
from fusionchat.stages.export import ABOUT
from fusionchat.stages.show_file import Rows, Shown, Table, describe_file, flat, read_value
from fusionchat.stages.stored import HOLD, Stored, open_stored
from fusionchat.units import counted, duration, size

SHOWN_FILES = 12
SHOWN_TOP = 3
SHORT_DIGEST = 12
GET_AGAIN = "get it again from its origin: it is not in a run, which could make it again"


def describe(place: str) -> Shown:
    """A description of what is at a path or URL.

    Raises:
        ArtifactError: There is nothing, or nothing that FusionChat knows, or it is damaged.
    """
    if is_url(place):
        return Shown("A store of distributions", store_facts(DistributionStore(place)))
    path = Path(place)
    try:
        return describe_path(path)
    except DamagedError as error:
        if run_of(path) is not None:
            raise
        raise ArtifactError(error.what, where=error.where, do=GET_AGAIN) from error


def describe_path(path: Path) -> Shown:
    """A description of what is at a path; raises as `describe`."""
    if path.is_file():
        return describe_file(path)
    if not path.is_dir():
        raise ArtifactError("There is no such path", where=str(path), do="use a run folder, or a path in one")
    if (path / ORDERS).is_dir():
        return describe_run(path)
    manifest = read_manifest(path)
    if manifest is not None:
        return describe_job(path, manifest)
    if any(path.glob(SHARDS)):
        return Shown("A store of distributions, without a manifest", store_facts(DistributionStore(path)))
    if (path / ABOUT).is_file():
        return Shown("Distributions for another trainer", flat(read_json(path / ABOUT)))
    if (path / "config.json").is_file():
        return describe_model(path)
    raise ArtifactError(
        "FusionChat does not know what this folder is",
        where=str(path),
        do="use a run folder, the folder of a job, a store, a model folder or a file",
    )


def describe_run(path: Path) -> Shown:
    """A run: the jobs that are done."""
    found = sorted(path.rglob(MANIFEST))
    done = [(one.parent, manifest) for one in found if (manifest := read_manifest(one.parent)) is not None]
    rows: Rows = [
        (
            folder.relative_to(path).as_posix(),
            size(sum(stamp[0] for stamp in manifest.stamps.values())),
            duration(manifest.seconds),
            brief(manifest.summary),
        )
        for folder, manifest in done
    ]
    facts = {"finished jobs": str(len(done)), "time": duration(sum(m.seconds for _, m in done))}
    return Shown("A run", facts, (Table(None, ("job", "size", "time", "what it found"), rows),))


def brief(summary: Mapping[str, Json]) -> str:
    """The figures of a summary that are single values, the first few."""
    plain = [
        f"{key} {value if isinstance(value, str) else f'{value:.6g}'}"
        for key, value in summary.items()
        if isinstance(value, int | float | str)
    ]
    return ", ".join(plain[:2])


def describe_job(path: Path, manifest: Manifest) -> Shown:
    """A finished job: what it was made from, and what it made."""
    facts = {
        "fingerprint": manifest.fingerprint[:SHORT_DIGEST],
        "took": duration(manifest.seconds),
        **flat(manifest.settings),
        **{f"input {name}": digest[:SHORT_DIGEST] for name, digest in manifest.inputs.items()},
        **flat(manifest.summary),
        "made with": ", ".join(f"{name} {version}" for name, version in manifest.versions.items()),
    }
    if any(path.glob(SHARDS)):
        facts |= store_facts(DistributionStore(path))
    names = list(manifest.files)
    rows: Rows = [
        (name, size(manifest.stamps[name][0]) if name in manifest.stamps else "?")
        for name in names[:SHOWN_FILES]
    ]
    if len(names) > SHOWN_FILES:
        rows.append((f"and {counted(len(names) - SHOWN_FILES, 'more file')}", ""))
    return Shown(f"A finished job: {path}", facts, (Table(None, ("file", "size"), rows),))


def store_facts(store: DistributionStore) -> dict[str, str]:
    """What a store contains."""
    about, total = store.shard(0).about, store.size
    columns = ", ".join(f"{c.name} {c.dtype}{f' x {c.width}' if c.width else ''}" for c in about.columns)
    return {
        "distributions": f"{store.rows:,} of {counted(len(store), 'conversation')}",
        "vocabulary": f"{store.encoding.vocabulary:,} tokens",
        "columns": columns,
        "compression": store.encoding.compression,
        "size": f"{size(total)} in {counted(len(store.ranges), 'shard')}, "
        f"{total / max(store.rows, 1):.1f} bytes per row",
    }


def describe_model(path: Path) -> Shown:
    """A model folder, from its configuration and the headers of its files."""
    config = read_value(path / "config.json", (path / "config.json").read_bytes())
    shapes: dict[str, tuple[int, ...]] = {}
    for file in sorted(path.glob("*.safetensors")):
        shapes |= shapes_in(file)
    wanted = ("architectures", "model_type", "dtype", "torch_dtype", "vocab_size", "hidden_size")
    facts = flat({key: config[key] for key in wanted if key in config}) if isinstance(config, dict) else {}
    facts["parameters"] = f"{sum(int(np.prod(shape)) for shape in shapes.values()):,}"
    facts["size"] = size(sum(file.stat().st_size for file in path.iterdir() if file.is_file()))
    return Shown(f"A model: {path}", facts)


def is_url(place: str) -> bool:
    """Whether a place is a URL and not a path."""
    return "://" in place


def run_of(path: Path) -> Path | None:
    """The run that contains a path; None if none does."""
    return next((run for run in path.absolute().parents if (run / ORDERS).is_dir()), None)


def find_stored(place: str) -> Stored:
    """The distributions in a job's folder, with their conversations.

    Raises:
        ArtifactError: The folder is not that of a job with distributions in a run.
    """
    path = Path(place).absolute()
    run = None if is_url(place) else run_of(path)
    if run is not None:
        return open_stored(run, path.relative_to(run).as_posix())
    raise ArtifactError(
        "This is not in a run, so its conversations are not known",
        where=place,
        do=f"use the folder of a job of {', '.join(HOLD)} in a run",
    )


def show_conversation(place: str, wanted: str) -> Shown:
    """A conversation of a job's distributions: each supervised token and its most likely alternatives.

    Args:
        place: The job's folder.
        wanted: The conversation's number (from 0), or its id.

    Raises:
        ArtifactError: There is no such conversation.
    """
    stored = find_stored(place)
    index = number_of(stored, wanted)
    conversation, topk = stored.conversations[index], stored.store[index]
    table = make_renderer(stored.ref).table

    def text(token: int) -> str:
        return visible(table.token(token))

    rows: Rows = list(token_rows(stored, index, topk, text))
    turns = {f"{message.role}:": message.content.replace("\n", "\n    ") for message in conversation.messages}
    facts = {"model": stored.ref.model, "domain": conversation.domain or "-", **turns}
    shown = min(SHOWN_TOP, topk.k)
    places = [f"{nth} of {topk.k}" if nth == 1 else str(nth) for nth in range(1, shown + 1)]
    return Shown(
        f"Conversation {index}: {conversation.id}",
        facts,
        (Table(None, ("token", "p, %", *places, "others"), rows),),
    )


def number_of(stored: Stored, wanted: str) -> int:
    """A conversation's number, given by its id or by the number itself."""
    ids = [conversation.id for conversation in stored.conversations]
    if wanted in ids:
        return ids.index(wanted)
    if wanted.isdecimal() and int(wanted) < len(ids):
        return int(wanted)
    raise ArtifactError(
        f"There is no conversation {wanted!r}",
        where=stored.store.path,
        do=f"use a number from 0 to {len(ids) - 1}, or an id such as {ids[0]}",
    )


def token_rows(
    stored: Stored, index: int, topk: TopK, text: Callable[[int], str]
) -> Iterator[tuple[str, ...]]:
    """A row for each supervised token: its text, its probability, the most likely tokens, and the tail."""
    shown = min(SHOWN_TOP, topk.k)
    labels = stored.rendered.slice(index, index + 1).labels
    known = LABEL_LOGPROB in stored.store.shard(0).columns
    own = stored.store.column(LABEL_LOGPROB, index, index + 1) if known else np.full(len(labels), np.nan)
    for row, label in enumerate(labels.tolist()):
        if not topk.present[row]:
            yield (text(label), percent(own[row]), *[""] * shown, "not aligned")
            continue
        kept = [
            f"{text(int(token))} {percent(logprob)}" if np.isfinite(logprob) else ""
            for token, logprob in zip(topk.ids[row, :shown], topk.logprobs[row, :shown], strict=True)
        ]
        in_row = topk.logprobs[row][topk.ids[row] == label]
        found = own[row] if np.isfinite(own[row]) or not len(in_row) else in_row[0]
        yield (text(label), percent(found), *kept, percent(topk.tail[row]))


def percent(logprob: float | np.floating) -> str:
    """A probability in %, from its logarithm: ``97.3``, ``0.02``, ``-`` if unknown."""
    value = float(logprob)
    if np.isnan(value):
        return "-"
    share = 100 * float(np.exp(value))
    return f"{share:.1f}" if share >= 1 else f"{share:.2g}"


def visible(token: bytes) -> str:
    """A token's text with visible spaces and line ends: ``·the``, ``⏎``; partial characters as ``\\xe2``."""
    text = token.decode("utf-8", errors="backslashreplace")
    return text.replace(" ", "·").replace("\n", "⏎").replace("\t", "⇥") or "∅"
