import json

import pytest

from fusionchat.evaluate.statistics import Estimate
from fusionchat.report.as_json import report_json, to_json
from tests.report.sample import BITS, report


def test_the_report_is_plain_json_with_everything_in_it():
    made = report()
    value = json.loads(json.dumps(report_json(made), allow_nan=False))
    assert value["format"] == 2 and value["fused"] == "varm" and value["baseline"] == "sft"
    assert [row["label"] for row in value["rows"]] == [row.label for row in made.rows]
    first = made.rows[0].value(BITS)
    assert value["rows"][0]["results"]["bits_per_byte"]["value"]["overall"] == first.overall._asdict()
    assert (
        value["rows"][0]["results"]["bits_per_byte"]["value"]["domains"]["math"]["se"]
        == first.domains["math"].se
    )
    assert value["rows"][3]["results"]["bits_per_byte"]["over_sft"] is None
    assert value["weights"][0]["weights"][0][0][0] is None
    assert value["choices"][2]["won"]["math"] == list(made.choices[2].won["math"])


def test_an_unknown_error_is_null():
    assert to_json(Estimate(1.0, None, 1)) == {"value": 1.0, "se": None, "n": 1}


def test_what_json_has_no_word_for_is_refused():
    with pytest.raises(AssertionError, match="not for JSON"):
        to_json({1, 2})


def test_a_metric_is_written_with_what_it_takes_to_show_it():
    value = report_json(report())["metrics"]
    assert [one["name"] for one in value] == ["bits_per_byte", "exact_match"]
    assert [(one["better"], one["scale"], one["estimator"]) for one in value] == [
        ("lower", 1.0, "ratio"),
        ("higher", 100.0, "share"),
    ]
