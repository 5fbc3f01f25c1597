"""What is reported of a merge, worked out by hand."""

import json
from dataclasses import asdict

import numpy as np
import pytest

from fusionchat.merge.methods.base import Gram, Mixture
from fusionchat.merge.methods.ties import Ties
from fusionchat.merge.stream.result import REPORT, InputFile, MergeReport, TensorReport, finished, report_of

GRAM = Gram(np.array([[0, 0, 0, 0], [0, 16, 8, 0], [0, 8, 4, 0], [0, 0, 0, 0]], float), 4, conflicts=1)
"""Three changes over 4 elements: rms 2, 1 and 0; the first two point the same way."""


def tensor(**more):
    values = {"mixture": None, "sums": np.array([36.0, 9.0, 0.0]), "kept_J": None, "ties": []}
    return TensorReport.of("w", (2, 2), GRAM, **{**values, **more})


def test_a_tensor_s_figures_follow_from_sums():
    """Squared change 36 over 4 elements: rms 3; squared error 9: half of the change."""
    report = tensor(mixture=Mixture(np.array([1.0, 2.0, 3.0]), "models", pivot=0.5, scale=2.0, divisor=4.0))
    assert (report.name, report.shape, report.weights, report.base) == ("w", [2, 2], [0.5, 1.0, 1.5], 3.5)
    assert (report.rms, report.cosine, report.conflicts) == ([2, 1, 0], [1.0, None, None], 0.25)
    assert (report.change_rms, report.rounding_loss, report.kept, report.ties) == (3.0, 0.5, [], [])


def test_a_method_by_element_has_shares_instead_of_weights():
    report = tensor(kept_J=np.array([4, 1, 0]), ties=[2, 0, 0])
    assert (report.weights, report.base, report.kept, report.ties) == ([], 1.0, [1, 0.25, 0], [2, 0, 0])


def test_where_nothing_changed_nothing_is_lost_by_rounding():
    assert tensor(sums=np.zeros(3)).rounding_loss == 0


def test_targets_that_take_no_part_have_weight_and_change_0():
    """Two of four targets, in places 3 and 1: their cosine is that of the pair (4, 2)."""
    part = TensorReport("w", [2], [0.25, 0.75], 1.0, [2.0, 3.0], [0.5], 0.1, 1.0, 0.0, [0.5, 1.0], [7, 8])
    whole = part.spread((3, 1), 4)
    assert whole.weights == [0, 0.75, 0, 0.25] and whole.rms == [0, 3, 0, 2]
    assert whole.kept == [0, 1, 0, 0.5] and whole.ties == [0, 8, 0, 7]
    pairs = [(k, j) for k in range(4) for j in range(k)]
    assert dict(zip(pairs, whole.cosine, strict=True))[3, 1] == 0.5
    assert sum(c is not None for c in whole.cosine) == 1


def test_the_order_of_places_is_kept():
    part = TensorReport("w", [2], [], 1.0, [2.0, 3.0], [0.5], 0.1, 1.0, 0.0)
    whole = part.spread((0, 2), 3)
    assert whole.cosine == [None, 0.5, None]  # pairs 1-2, 1-3, 2-3
    assert whole.weights == [] and whole.kept == [] and whole.ties == []


def test_no_target_takes_part():
    part = TensorReport("w", [2], [], 1.0, [], [], 0.0, 0.0, 0.0)
    assert part.spread((), 2).weights == [0, 0] and part.spread((), 2).rms == [0, 0]


def report(*tensors, **more):
    values = {
        "method": {"method": "varm"}, "pivot": "p", "targets": ["a", "b"], "dtype": "bfloat16", "copied": [],
        "files": {"model.safetensors": "0"}, "inputs": {}, "fingerprint": "mark", "seconds": 1.0, "bytes_read": 2,
        "bytes_written": 3,
    }  # fmt: skip
    return MergeReport(**values | {"tensors": list(tensors)} | more)


ONE = TensorReport("x", [3], [0.25, 0.75], 1.0, [1.0, 2.0], [0.0], 0.5, 2.0, 0.5)
TWO = TensorReport("y", [1], [1.0, 0.0], 1.0, [3.0, 4.0], [0.0], 0.1, 4.0, 0.25)


def test_figures_of_the_model_are_weighted_by_elements():
    summary = report(ONE, TWO).summary()
    assert summary["parameters"] == 4
    assert summary["rms"] == pytest.approx([((3 + 9) / 4) ** 0.5, ((12 + 16) / 4) ** 0.5])
    assert summary["change_rms"] == pytest.approx(((3 * 4 + 16) / 4) ** 0.5)
    assert summary["conflicts"] == pytest.approx(0.4)
    assert summary["weights"] == pytest.approx([0.4375, 0.5625])
    assert summary["rounding_loss"] == pytest.approx(((3 * 1 + 1) / 28) ** 0.5)
    assert "kept" not in summary and report().summary() == {"parameters": 0}


def test_a_report_comes_back_from_json():
    whole = report(ONE, TWO)
    values = json.loads(json.dumps(whole.to_json()))
    assert MergeReport.from_json(values) == whole
    assert values["summary"] == json.loads(json.dumps(whole.summary()))


def test_a_merge_is_finished_where_report_and_files_fit(tmp_path):
    sizes = {"model.safetensors": 5}
    assert finished(tmp_path, "mark", sizes) is None
    (tmp_path / REPORT).write_text(json.dumps(report(ONE).to_json()))
    assert finished(tmp_path, "mark", sizes) is None
    (tmp_path / "model.safetensors").write_bytes(b"12345")
    assert finished(tmp_path, "mark", sizes) == report(ONE)
    assert finished(tmp_path, "other", sizes) is None
    (tmp_path / "model.safetensors").write_bytes(b"1234")
    assert finished(tmp_path, "mark", sizes) is None
    (tmp_path / REPORT).write_text('{"method": 1}')
    assert finished(tmp_path, "mark", sizes) is None


def test_files_that_were_read_say_what_is_known():
    assert InputFile(3).to_json() == {"bytes": 3}
    whole = report(inputs={"pivot": {"x": InputFile(3)}, "a": {"y": InputFile(4, "ab", "read")}})
    values = json.loads(json.dumps(whole.to_json()))
    assert values["inputs"]["a"]["y"] == {"bytes": 4, "sha256": "ab", "source": "read"}
    assert MergeReport.from_json(values) == whole


def test_the_method_comes_back_with_its_settings():
    made = report(method=json.loads(json.dumps(asdict(Ties(density=(0.2, 0.3))))))
    assert made.settings == Ties(density=(0.2, 0.3))


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"method": 1}'])
def test_a_report_that_is_none(tmp_path, text):
    assert report_of(tmp_path) is None
    (tmp_path / REPORT).write_text(text)
    assert report_of(tmp_path) is None
