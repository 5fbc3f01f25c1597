import math

import pytest

from fusionchat.corpus.filters import equal, passes, shown, word


@pytest.mark.parametrize(
    ("value", "wanted", "same"),
    [
        ("en", "en", True), ("en", "En", False), ("5", 5, False), (5, 5.0, True), (5, 6, False),
        (True, 1, False), (1, True, False), (False, 0, False), (True, True, True),
        (None, None, True), ("", None, False), (math.nan, None, False), (["en"], "en", False),
    ],
)  # fmt: skip
def test_values_are_compared_exactly(value, wanted, same):
    assert equal(value, wanted) is same


def test_every_column_has_to_have_one_of_its_values():
    record = {"lang": "en", "level": 2, "gone": None}
    assert passes(record, {}) and passes(record, {"lang": "en", "level": (1, 2)})
    assert not passes(record, {"lang": "en", "level": (1, 3)})
    assert passes(record, {"gone": None, "absent": None}) and not passes(record, {"absent": ("x",)})
    assert passes([], {}) and not passes([], {"lang": "en"}) and not passes(record, {"lang": ()})


def test_values_in_words():
    assert [word(v) for v in (None, True, "a", 2.5)] == ["null", "true", "'a'", "2.5"]
    assert word("x" * 100) == "'" + "x" * 39 + "..."
    assert shown({"'a'": 1, "null": 3}) == "null (3), 'a' (1)"
    assert shown({str(i): 9 - i for i in range(7)}).endswith("4 (5) and 2 others")
