import pytest

from fusionchat.corpus.conversation import Message
from fusionchat.corpus.formats.base import Format, Turns
from fusionchat.corpus.keys import Unusable


class Lines(Format):
    name, priority, columns = "lines", 1, ("lines", "rows")

    def turns(self, record):
        return Turns((Message("assistant", str(record[self.column(record)])),))


def test_a_format_fits_what_has_one_of_its_columns_and_reads_the_preferred_one():
    assert Lines().fits({"rows": "a"}) and not Lines().fits({"messages": "a"})
    assert Lines().column({"rows": "a", "lines": "b"}) == "lines" and Lines().column({"rows": "a"}) == "rows"
    with pytest.raises(Unusable, match="no messages") as caught:
        Lines().column({"messages": "a"})
    assert caught.value.detail == "there is no key `lines` or `rows`"


def test_by_default_only_a_preference_s_answer_follows_and_no_column_is_used():
    assert Lines().answers == ("chosen",)
    assert Lines().turns({"lines": "a"}) == ((Message("assistant", "a"),), frozenset(), ())
    with pytest.raises(NotImplementedError):
        Format().turns({})
