from dataclasses import replace

from fusionchat.report.model import MergeWeights, Row
from tests.report.sample import BITS, report


def test_rows_are_found_by_label():
    assert report().row("varm").kind == "merge"
    assert report().row("nobody") is None


def test_what_was_not_measured_is_not_there():
    row = Row("a", "pivot", results={"exact_match": report().rows[0].results["exact_match"]})
    assert row.value(BITS) is None and row.gain(BITS) is None
    assert replace(report(), metrics=()).primary is None and report().primary is BITS


def test_weights_keep_their_shape():
    merge = report(layers=3).weights[0]
    assert isinstance(merge, MergeWeights)
    assert len(merge.weights) == len(merge.targets)
    assert all(len(table) == len(merge.modules) for table in merge.weights)
    assert all(len(row) == len(merge.layers) for table in merge.weights for row in table)
