import json
from dataclasses import replace

import pytest

from fusionchat.evaluate.statistics import Estimate
from fusionchat.report.model import MergeWeights, Row, report_json, to_json
from tests.report.sample import report


def test_the_report_is_plain_json_with_everything_in_it():
    made = report()
    value = json.loads(json.dumps(report_json(made), allow_nan=False))
    assert value["format"] == 1 and value["fused"] == "varm" and value["baseline"] == "sft"
    assert [row["label"] for row in value["rows"]] == [row.label for row in made.rows]
    first = made.rows[0].bits_per_byte
    assert value["rows"][0]["bits_per_byte"]["overall"] == first.overall._asdict()
    assert value["rows"][0]["bits_per_byte"]["domains"]["math"]["se"] == first.domains["math"].se
    assert value["rows"][3]["bits_gain"] is None
    assert value["weights"][0]["weights"][0][0][0] is None
    assert value["choices"][2]["won"]["math"] == list(made.choices[2].won["math"])


def test_an_unknown_error_is_null():
    assert to_json(Estimate(1.0, None, 1)) == {"value": 1.0, "se": None, "n": 1}


def test_what_json_has_no_word_for_is_refused():
    with pytest.raises(AssertionError, match="not for JSON"):
        to_json({1, 2})


def test_rows_are_found_by_label():
    assert report().row("varm").kind == "merge"
    assert report().row("nobody") is None


def test_metrics_are_those_that_some_row_has():
    rows = tuple(replace(row, exact_match=None) for row in report().rows)
    assert replace(report(), rows=rows).metrics == ("bits_per_byte",)
    assert replace(report(), rows=(Row("a", "pivot"),)).metrics == ()


def test_weights_keep_their_shape():
    merge = report(layers=3).weights[0]
    assert isinstance(merge, MergeWeights)
    assert len(merge.weights) == len(merge.targets)
    assert all(len(table) == len(merge.modules) for table in merge.weights)
    assert all(len(row) == len(merge.layers) for table in merge.weights for row in table)
