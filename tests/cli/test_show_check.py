"""What `check` prints, of findings made by hand."""

import pytest

from fusionchat.align.preview import Piece
from fusionchat.cli import show_check as module
from fusionchat.cli.show_check import SHOWN_CHARACTERS, cut, show
from fusionchat.corpus.conversation import Reject
from fusionchat.run.auto import Resolved
from fusionchat.stages.check import Check
from fusionchat.stages.check_corpus import Shown
from fusionchat.stages.check_usable import Usable

EMPTY = {
    name: []
    for name in (
        "models",
        "corpus",
        "previews",
        "renderings",
        "unseen",
        "unfit",
        "pivot",
        "usable",
        "opens",
        "doubts",
        "backends",
    )
}
FOUND = Check(
    **EMPTY, records=10, rejects={}, unused_keys={}, retention={}, disk=None, flops=None, notes={}, rebuilt={},
    resolved=Resolved({"represent.dtype": "float32"}, {}, {}),
)  # fmt: skip


@pytest.fixture
def printed(monkeypatch):
    """Lines, warnings and tables in order."""
    seen = []
    monkeypatch.setattr(module.console, "say", lambda text="", style=None: seen.append(text))
    monkeypatch.setattr(module.console, "warn", lambda text: seen.append(f"warning: {text}"))
    monkeypatch.setattr(
        module.console, "table", lambda title, columns, rows: seen.append((title, columns, rows))
    )
    monkeypatch.setattr(module.console, "side_by_side", lambda title, columns: seen.append((title, columns)))
    return seen


def test_where_nothing_is_wrong_the_last_line_says_so(printed):
    show(FOUND)
    assert printed[0][0] == "Models" and printed[-1] == "No problems found."
    assert printed[1].startswith("Expected cost: unknown")


def test_what_could_not_be_looked_at_is_no_praise(printed):
    show(FOUND._replace(unseen=["the hub"]))
    assert printed[-2:] == [
        "warning: could not check the hub",
        "No problems found in what could be checked.",
    ]


@pytest.mark.parametrize(("used", "few"), [(4, True), (5, False), (0, True)])
def test_a_model_that_can_use_few_conversations_is_named_last(printed, used, few):
    show(FOUND._replace(usable=[Usable("qwen", used, 10, {"too long": 10 - used})]))
    assert (printed[-1] == "The models and the corpus do not fit well: see the warnings.") == few
    assert any("qwen: can use" in str(line) for line in printed) == few


@pytest.mark.parametrize(
    ("flops", "time"),
    [
        (4e14 * 1.4, "about a second or less"),
        (4e14 * 1.6, "about 2 seconds"),
        (4e14 * 90, "about 90 seconds"),
        (4e14 * 7200, "about 2.0 hours"),
    ],
)
def test_the_cost_is_said_as_time_on_a_gpu(printed, flops, time):
    show(FOUND._replace(disk=2e9, flops=flops))
    (line,) = [line for line in printed if str(line).startswith("Expected: ")]
    assert line.startswith("Expected: 2 GB on disk, ") and f": {time} at 400 TFLOP/s" in line


def test_every_kind_of_note_has_its_line(printed):
    kept = {"represent.dtype": "float32"}
    auto = Resolved(kept, kept, {"represent.dtype": "bfloat16"})
    show(FOUND._replace(
        corpus=["10 conversations"], notes={"trims": 1}, resolved=auto, rebuilt={"qwen": "a b"}, opens=["as text"],
        pivot=["tied"], unfit=["slerp needs 2"], doubts=["a doubt"],
    ))  # fmt: skip
    text = "\n".join(map(str, printed[1:]))
    for line in (
        "10 conversations", "Corpus: trims (1 conversation)", "represent.dtype: auto = float32", "Pivot: tied", "as text",
        "qwen: transformers would split 'a b' differently", "warning: slerp needs 2; the search will count it as failed",
        "warning: represent.dtype: auto is float32, as when", "warning: a doubt",
    ):  # fmt: skip
        assert line in text


def test_records_are_shown_as_each_model_reads_them(printed):
    models = {"pivot": [Piece("Hi", False), Piece("yes", True)], "qwen": Reject("r1", "too long")}
    shown = Shown("train", "r1", "math", models)
    show(FOUND._replace(renderings=[shown, shown._replace(domain="")]))
    place = printed.index("Records as each model will read them, supervised tokens marked:")
    assert printed[place + 1] == (
        "corpus.train: r1, domain math", {"pivot": [("Hi", False), ("yes", True)], "qwen": [("rejected: too long", False)]}
    )  # fmt: skip
    assert printed[place + 2][0] == "corpus.train: r1"


def test_retention_is_a_table_of_shares(printed):
    figures = {"retention": 0.98765, "map_retention": 0.9, "text_retention": 0.8, "aligned_byte_share": 0.7}
    show(FOUND._replace(retention={"qwen": figures}))
    (table,) = [part for part in printed if isinstance(part, tuple) and part[0].startswith("Retention")]
    assert table[1] == ("", "qwen") and [row[1] for row in table[2]] == ["0.988", "0.900", "0.800", "0.700"]


def test_long_text_is_cut_in_the_middle():
    assert cut("a" * SHOWN_CHARACTERS) == "a" * SHOWN_CHARACTERS
    half = SHOWN_CHARACTERS // 2
    assert cut("a" * half + "x" * 7 + "b" * half) == "a" * half + " ... 7 characters ... " + "b" * half
