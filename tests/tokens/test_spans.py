import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from fusionchat.tokens.spans import (
    ADDED,
    LSTRIP,
    RSTRIP,
    UNKNOWN,
    ByteTable,
    Spans,
    Untiled,
    blank,
    gather,
    make_table,
)

WORDS = [b"a", b"b", b" ", b"ab", b" a", "é".encode(), b"\xc3", b"\xa9", b"<x>", b"<u>"]


def table(prefix="none", added=0):
    flags = np.zeros(len(WORDS), np.uint8)
    flags[8], flags[9] = ADDED | added, ADDED | UNKNOWN
    in_text = np.array([True] * 8 + [False] * 2)
    return make_table(WORDS, in_text, flags, prefix=prefix)


@given(st.lists(st.integers(0, 8)))
def test_tokens_tile_the_text_they_spell(ids):
    one = table()
    text = b"".join(WORDS[i] for i in ids)
    spans = one.tile(np.array(ids, np.int64), text)
    assert isinstance(spans, Spans)
    assert [text[a:b] for a, b in zip(spans.begin, spans.end, strict=True)] == [WORDS[i] for i in ids]
    assert gather(one.data, one.offsets, np.array(ids, np.int64)).tobytes() == text


@given(st.lists(st.integers(0, 8), min_size=1), st.integers(0, 255), st.data())
def test_any_changed_byte_is_seen(ids, byte, data):
    text = bytearray(b"".join(WORDS[i] for i in ids))
    at = data.draw(st.integers(0, len(text) - 1))
    changed = text[at] != byte
    text[at] = byte
    result = table().tile(np.array(ids, np.int64), bytes(text))
    assert isinstance(result, Untiled) == changed


def test_a_blank_in_front_is_one_byte_before_the_stretch():
    one = table("always")
    spans = one.tile(np.array([4, 1, 8, 4]), b"ab<x>a")
    assert spans.begin.tolist() == [-1, 1, 2, 4] and spans.end.tolist() == [1, 2, 5, 6]
    assert spans.text_begin.tolist() == [0, 1, 2, 5]
    where_missing = table("if_missing").tile(np.array([4, 1]), b" ab")
    assert where_missing.begin.tolist() == [0, 2]
    put_there = table("if_missing").tile(np.array([4, 1]), b"ab")
    assert put_there.begin.tolist() == [-1, 1] and put_there.end.tolist() == [1, 2]
    without = one.tile(np.array([1, 1]), b"bb")
    assert without.begin.tolist() == [0, 1]
    lone = one.tile(np.array([2, 5]), "é".encode())
    assert lone.begin.tolist() == [-1, 0] and lone.end.tolist() == [0, 2]
    after = one.tile(np.array([0 + 4, 8, 2, 5]), "a<x>é".encode())
    assert after.text_begin.tolist() == [0, 1, 4, 4] and after.end.tolist() == [1, 4, 4, 6]
    assert one.tile(np.array([], np.int64), b"").text_begin.size == 0
    assert isinstance(table().tile(np.array([4, 1]), b"ab"), Untiled)


def test_added_tokens_swallow_blanks_on_their_sides():
    spans = table(added=LSTRIP | RSTRIP).tile(np.array([0, 8, 1]), "a \n<x>\u3000 b".encode())
    assert spans.begin.tolist() == [0, 1, 10] and spans.end.tolist() == [1, 10, 11]
    assert isinstance(table().tile(np.array([0, 8, 1]), b"a<x> b"), Untiled)


def test_refusals_say_why():
    one = table()
    assert "does not know" in one.tile(np.array([0, 9]), "a你".encode()).reason
    assert "changes" in one.tile(np.array([0, 0]), b"ab").reason
    assert "end before" in one.tile(np.array([0]), b"ab").reason
    assert "beyond" in one.tile(np.array([99]), b"a").reason
    assert one.tile(np.array([0, 1, 0]), b"abb").token == 2
    assert one.tile(np.array([], np.int64), b"").begin.size == 0


def test_blanks_are_unicodes_white_space():
    for code in range(0x3100):
        character = chr(code)
        if 0x1C <= code <= 0x1F:  # str.isspace counts separators, White_Space does not
            continue
        raw = np.frombuffer(character.encode("utf-8", "surrogatepass"), np.uint8)
        assert (blank(raw, 0) > 0) == character.isspace(), hex(code)


def test_same_text_tokens_ignores_control_tokens():
    one = table()
    other = make_table([*WORDS[:8], b"<other>"], np.array([True] * 8 + [False]))
    assert one.same_text_tokens(other) and other.same_text_tokens(one)
    assert one.digest != other.digest
    swapped = make_table([WORDS[1], WORDS[0], *WORDS[2:8]])
    assert not one.same_text_tokens(swapped)
    assert not one.same_text_tokens(make_table([*WORDS[:8], b"<other>"]))
    assert isinstance(one, ByteTable) and one.size == 10
