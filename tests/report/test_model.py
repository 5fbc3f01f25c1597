from dataclasses import replace

from fusionchat.report.model import Row
from tests.report.sample import BITS, report


def test_rows_are_found_by_label():
    assert report().row("varm").kind == "merge"
    assert report().row("nobody") is None


def test_what_was_not_measured_is_not_there():
    row = Row("a", "pivot", results={"exact_match": report().rows[0].results["exact_match"]})
    assert row.value(BITS) is None and row.gain(BITS) is None
    assert replace(report(), metrics=()).primary is None and report().primary is BITS
