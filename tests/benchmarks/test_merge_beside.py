"""benchmarks.merge_beside: every method is merged, and a hash sees what matters and nothing else."""

import json
import sys

import pytest
from benchmarks.merge_beside import Case, compare_bytes, hash_of, merge_all

from benchmarks import merge, merge_beside
from fusionchat.merge.methods import NAMES

YOUNGER = {"nearswap"}
"""Methods that the commits to compare with do not have."""


def test_every_method_is_merged_in_some_way():
    assert {*merge_beside.BOTH, "fisher"} | YOUNGER == set(NAMES)
    assert {*merge_beside.ONE, *merge_beside.MANY, *merge.METHODS} <= set(NAMES)


def test_a_hash_sees_weights_and_figures_but_no_times(tmp_path):
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    report = tmp_path / "merge_weights.json"
    report.write_text(json.dumps({"seconds": 1.0, "fingerprint": "a", "inputs": {"a": 1}, "tensors": [1]}))
    first = hash_of(tmp_path)
    report.write_text(json.dumps({"seconds": 2.0, "fingerprint": "b", "inputs": {"b": 1}, "tensors": [1]}))
    assert hash_of(tmp_path) == first
    report.write_text(json.dumps({"seconds": 2.0, "fingerprint": "b", "inputs": {"b": 1}, "tensors": [2]}))
    second = hash_of(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"weightS")
    assert len({first, second, hash_of(tmp_path)}) == 3


def test_a_merge_that_differs_is_named(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(merge.SIZES, "tiny", (64, 64, 1, 64, 100))
    pivot, targets = merge.make_models(tmp_path / "models", "tiny", 2)
    places = {name: str(path) for name, path in targets.items()}

    def case(name: str, settings: list[str]) -> Case:
        return Case(name=name, pivot=str(pivot), targets=places, method="ties", settings=settings, dtype="float16",
                    threads=1)  # fmt: skip

    one, two = list(merge_all([case("a", ["density=0.5"]), case("b", ["density=0.6"])]))
    assert one["hash"] != two["hash"]
    other = tmp_path / "other"
    monkeypatch.setattr(
        merge_beside, "run", lambda checkout, given, _: [two if checkout == other else one, one][: len(given)]
    )
    assert compare_bytes(other, tmp_path, [case("a", []), case("b", [])]) == ["a"]
    assert "DIFFERENT a" in capsys.readouterr().out


def test_another_checkout_has_to_be_one(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["merge_beside", str(tmp_path)])
    with pytest.raises(SystemExit, match="name another checkout"):
        merge_beside.main()
