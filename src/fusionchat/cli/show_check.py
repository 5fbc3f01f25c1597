"""What `fusionchat check` prints."""

from fusionchat import console
from fusionchat.align.preview import PairPreview, Piece
from fusionchat.corpus.conversation import Reject
from fusionchat.corpus.parts import count_words
from fusionchat.run.estimate import work
from fusionchat.stages.check import Check
from fusionchat.stages.check_corpus import Shown
from fusionchat.units import counted, size

SHOWN_STRETCHES = 6
"""The most stretches of a record that are shown: the first and the last prompts and answers."""
SHOWN_CHARACTERS = 240
"""The most characters of a stretch that are shown: its beginning and its end."""
FLOPS_A_SECOND = 4e14


def show(found: Check) -> None:
    """Print what was found."""
    console.table(
        "Models",
        ("model", "structure", "layers", "hidden", "head rows", "tokens", "template"),
        [tuple(model) for model in found.models],
    )
    _show_corpus(found)
    if found.previews:
        _show_previews(found.previews)
    if found.retention:
        _show_retention(found.retention)
    _show_records(found.renderings)
    if found.resolved.here:
        console.say(found.resolved.describe())
    console.say(_expected(found))
    for name, text in found.rebuilt.items():
        console.say(
            f"{name}: transformers would split {text!r} differently than tokenizer.json says; the file's rules are used."
        )
    for line in found.opens:
        console.say(line)
    for line in found.pivot:
        console.say(f"Pivot: {line}")
    for line in found.unfit:
        console.warn(f"{line}; the search will count it as failed")
    for line in found.resolved.notices():
        console.warn(line)
    for line in found.doubts:
        console.warn(line)
    for line in found.backends:
        console.warn(line)
    for line in found.unseen:
        console.warn(f"could not check {line}")
    _conclude(found)


def _show_corpus(found: Check) -> None:
    for line in found.corpus:
        console.say(line)
    for note, count in found.notes.items():
        console.say(f"Corpus: {note} ({counted(count, 'conversation')})")


def _conclude(found: Check) -> None:
    """Print the last line: what is wrong, or that nothing is."""
    few = [str(model) for model in found.usable if model.few]
    for line in few:
        console.warn(line)
    if found.backends:
        console.say("Some capture backends are not available: see the warnings.")
    elif few:
        console.say("The models and the corpus do not fit well: see the warnings.")
    else:
        console.say("No problems found in what could be checked." if found.unseen else "No problems found.")


def _expected(found: Check) -> str:
    if found.disk is None or found.flops is None:
        return "Expected cost: unknown until the models' weights and the corpus are on this machine (see `fusionchat plan`)."
    hours = found.flops / FLOPS_A_SECOND / 3600
    seconds = f"{hours * 3600:.0f} seconds" if hours >= 1.5 / 3600 else "a second or less"
    time = f"{hours:.1f} hours" if hours >= 0.1 else seconds
    return (
        f"Expected: {size(found.disk)} on disk, {work(found.flops)}: about {time} "
        f"at {FLOPS_A_SECOND / 1e12:.0f} TFLOP/s (40 % of an H100 in bf16)."
    )


def _show_previews(previews: list[PairPreview]) -> None:
    rows = [
        ("conversations accepted", *(_percent(p.accepted) for p in previews)),
        ("conversations cut", *(str(p.cut) for p in previews)),
        ("pivot token boundaries shared", *(_percent(p.shared_boundaries) for p in previews)),
        ("pivot rows exact", *(_percent(p.exact) for p in previews)),
        ("pivot rows inside a source token", *(_percent(p.inside) for p in previews)),
        ("pivot rows unaligned", *(_percent(p.unaligned) for p in previews)),
        ("vocabulary map", *(p.method for p in previews)),
        ("source tokens with equal bytes, by use", *(_percent(p.coverage.used["exact"]) for p in previews)),
        ("source tokens mapped, by use", *(_percent(1 - p.coverage.used["none"]) for p in previews)),
    ]
    console.table("Alignment to the pivot, on the sample", ("", *(p.name for p in previews)), rows)
    for pair in previews:
        if pair.reasons:
            console.say(f"Corpus, with the pivot and {pair.name}; rejected: {count_words(pair.reasons)}")


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _show_retention(retention: dict[str, dict[str, float]]) -> None:
    rows = [
        (words, *(f"{figures[key]:.3f}" for figures in retention.values()))
        for words, key in (
            ("retention on aligned bytes", "retention"),
            ("of the map alone, without the observed path", "map_retention"),
            ("of the whole text, the pivot for unaligned rows", "text_retention"),
            ("share of bytes that are aligned", "aligned_byte_share"),
        )
    ]
    console.table("Retention, from this run's own alignment", ("", *retention), rows)


def _show_records(records: list[Shown]) -> None:
    for number, record in enumerate(records):
        columns = {
            name: [("rejected: " + pieces.reason, False)] if isinstance(pieces, Reject) else shortened(pieces)
            for name, pieces in record.models.items()
        }
        said = f"corpus.{record.entry}: {record.id}" + (f", domain {record.domain}" if record.domain else "")
        if not number:
            console.say("Records as each model will read them, supervised tokens marked:")
        console.side_by_side(said, columns)


def shortened(pieces: list[Piece]) -> list[tuple[str, bool]]:
    """The first and the last stretches of a record, each cut; and whether they are supervised."""
    shown = [(cut(piece.text), piece.supervised) for piece in pieces]
    left = len(shown) - SHOWN_STRETCHES
    if left <= 0:
        return shown
    half = SHOWN_STRETCHES // 2
    return [*shown[:half], (f" ... {left} stretches ... ", False), *shown[-half:]]


def cut(text: str) -> str:
    """The beginning and the end of a long text."""
    left = len(text) - SHOWN_CHARACTERS
    half = SHOWN_CHARACTERS // 2
    return text if left <= 0 else f"{text[:half]} ... {left} characters ... {text[-half:]}"
