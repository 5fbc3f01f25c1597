"""What `from fusionchat import ...` gives; rooms of the same name stay rooms."""

import inspect
import subprocess
import sys

import pytest

import fusionchat


def test_every_public_name_resolves():
    from fusionchat import api

    assert sorted(fusionchat.__all__) == sorted(api.__all__)  # it may not import api
    assert all(getattr(fusionchat, name) is not None for name in fusionchat.__all__)
    with pytest.raises(AttributeError):
        fusionchat.nothing  # noqa: B018


@pytest.mark.parametrize(
    "first", ["import fusionchat.merge.methods", "import fusionchat", "import fusionchat.merge"]
)
def test_a_room_is_a_function_whatever_was_imported_first(forked, first):
    code = (
        f"{first}\nimport inspect\nfrom fusionchat import merge, run\nimport fusionchat.merge.methods as methods\n"
        "from fusionchat.merge import weights\nassert 'varm' in methods.NAMES and weights.variation_ratio\n"
        "assert callable(merge) and list(inspect.signature(merge).parameters)[:3] == ['pivot', 'targets', 'method']\n"
        "assert 'until' in inspect.signature(run).parameters"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_merge_is_called_by_a_method_s_name(tiny_input, tmp_path):
    pivot = tiny_input / "models/pivot"
    report = fusionchat.merge(
        pivot, {"a": pivot}, "varm", tmp_path / "out", settings=["power=2"], dtype="float32"
    )
    assert (tmp_path / "out/model.safetensors").is_file() and report.tensors
    with pytest.raises(fusionchat.FusionChatError, match="no method 'varn'"):
        fusionchat.merge(pivot, {"a": pivot}, "varn", tmp_path / "other")


def test_evaluate_gives_what_a_run_does(finished):
    """The same bits per byte of the same model on the same text, but for the rounding of scores.json."""
    corpus = finished.folder.parent.parent / "input/corpus/test.jsonl"
    found = fusionchat.evaluate(finished.path("distill/sft") / "model", corpus, max_tokens=96, device="cpu")
    assert found.metrics.keys() == {"bits_per_byte"} and found.rejects == {}
    summary = finished.manifest("evaluate/test/sft").summary["bits_per_byte"]
    assert found.metrics["bits_per_byte"].value == pytest.approx(summary, abs=1e-5)


def test_importing_the_package_loads_nothing_heavy():
    code = "import sys, fusionchat, fusionchat.cli; assert not {'torch', 'transformers', 'numpy'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
    assert inspect.ismodule(fusionchat.run)
