from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from fusionchat.chat.wrap import Wrap

WORDS = st.text(alphabet="ab ,.\n表🙂é", max_size=120)


def run(text: str, cuts: list[int], width: int | None, column: int = 0) -> str:
    wrap, out, last = Wrap(width, column), "", 0
    for cut in sorted(c % (len(text) + 1) for c in cuts):
        out += wrap.feed(text[last:cut])
        last = cut
    return out + wrap.feed(text[last:]) + wrap.flush()


def test_words_go_to_the_next_line_whole():
    assert run("the cat sat on the mat", [], 10).splitlines() == ["the cat ", "sat on the", "mat"]


def test_the_first_line_is_shorter_by_what_stands_before():
    assert run("the cat sat", [], 10, column=5) == "the \ncat sat"


def test_without_a_width_nothing_changes():
    assert run("a  long   line\n of words", [3], None, 9) == "a  long   line\n of words"


def test_a_word_longer_than_the_line_is_not_held_back():
    wrap = Wrap(10)
    assert wrap.feed("x" * 11) == "x" * 11


def test_a_long_word_is_not_broken_by_us():
    assert run("see https://example.org/" + "x" * 60 + " now", [7, 30, 50], 20).split("\n")[1:] == [
        "https://example.org/" + "x" * 60,
        "now",
    ]


def test_wide_characters_go_out_at_once():
    wrap = Wrap(40)
    assert wrap.feed("表") == "表"


@given(WORDS, st.lists(st.integers(0, 200), max_size=9), st.integers(4, 40))
def test_only_blanks_change_and_the_pieces_do_not_matter(text, cuts, width):
    out = run(text, cuts, width)
    assert "".join(out.split()) == "".join(text.split())
    assert out == run(text, [], width)


@given(st.lists(st.text(alphabet="abc", min_size=1, max_size=8), max_size=30), st.integers(9, 40))
def test_lines_fit(words, width):
    out = run(" ".join(words), [], width)
    assert out.split() == words
    assert all(cell_len(line) <= width for line in out.split("\n"))
