import pytest

from fusionchat.corpus.files import BrokenLine
from fusionchat.corpus.selection import FILTERED, OVER, Selection
from fusionchat.errors import CorpusError

RECORDS = [{"lang": "en" if i % 3 else "de", "n": i} for i in range(9)]


def test_each_record_is_taken_or_counted():
    selection = Selection({"lang": "en"}, 4, {})
    assert [r["n"] for r in RECORDS if selection.takes(r)] == [1, 2, 4, 5]
    assert selection.left == {FILTERED: 3, OVER: 2} and selection.looked == 9
    assert selection.full and selection.taken + sum(selection.left.values()) == 9
    selection.check()


def test_without_filter_and_limit_all_are_taken():
    selection = Selection({}, None, {})
    assert all(selection.takes(r) for r in [*RECORDS, [], BrokenLine("{"), 3])
    assert not selection.left and not selection.full


def test_a_broken_line_passes_the_filter_to_be_counted_as_what_it_is():
    selection = Selection({"lang": "en"}, None, {})
    assert selection.takes(BrokenLine("{")) and selection.takes("text") and not selection.takes([])


def test_a_column_that_no_record_has_is_named_with_its_setting():
    selection = Selection({}, None, {"columns.prompt": "problem", "columns.role": "speaker"})
    for record in ({"text": 1}, {"problem": 2, "turns": [{"from": 3}]}):
        selection.takes(record)
    with pytest.raises(CorpusError, match="None of the 2 records has a column 'speaker'") as error:
        selection.check()
    assert error.value.do == "correct `columns.role`; there are text, problem, turns, from"
    selection.takes({"turns": [{"speaker": "a"}]})
    selection.check()


def test_a_key_inside_a_column_is_no_column():
    selection = Selection({"lang": "en"}, None, {"domain.column": "topic"})
    selection.takes({"meta": {"lang": "en", "topic": "a"}})
    with pytest.raises(CorpusError, match="has a column 'topic'") as error:
        selection.check()
    assert error.value.do.endswith("there are meta")


def test_a_filter_that_leaves_nothing_says_what_there_is():
    selection = Selection({"lang": ("fr", None), "n": 3}, None, {})
    for record in RECORDS:
        selection.takes(record)
    with pytest.raises(CorpusError, match="The filter matches none of the 9 records") as error:
        selection.check()
    assert "`lang` is 'en' (6), 'de' (3)" in error.value.do and "and 4 others" in error.value.do


def test_an_empty_file_is_none_of_its_business():
    Selection({"lang": "en"}, 1, {"columns.prompt": "p"}).check()
