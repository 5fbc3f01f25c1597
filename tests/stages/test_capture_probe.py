"""A capture is probed before its first shard; one that is not what transformers gives writes none."""

from contextlib import contextmanager

import numpy as np
import pytest

from fusionchat.errors import ModelError
from fusionchat.recipe.schema import load_recipe
from fusionchat.represent.capture.transformers import Transformers
from fusionchat.represent.topk import Scored
from fusionchat.stages.capture_probe import PROBE, probed, read_probe
from fusionchat.stages.pipeline import open_run, run
from tests.tiny import SETTINGS, write_recipe

OPEN = Transformers.open


def test_the_probe_of_a_good_capture_is_in_its_summary(finished):
    summary = finished.manifest("represent/qwen").summary
    probe = read_probe(finished.folder / "represent/qwen")["probe"]
    assert summary["probe"] == probe and (summary["backend"], summary["dtype"]) == ("transformers", "float32")
    assert probe["conversations"] > 10 and probe["label"]["worst"] < 1e-4 and probe["unchecked"] == ""


def test_a_damaged_note_of_it_is_none(tmp_path):
    assert not probed(tmp_path)
    for text, whole in (("{", False), ("[]", False), ('{"backend": "vllm"}', True)):
        (tmp_path / PROBE).write_text(text)
        assert probed(tmp_path) == whole


@contextmanager
def off_by_one(self, asked):
    """The transformers backend with the log-probabilities of each row's neighbour."""
    with OPEN(self, asked) as capture:

        def shifted(rendered, *, names, advance):
            scored = capture(rendered, names=names, advance=advance)
            return Scored(scored.tokens, scored.topk, np.roll(scored.label_logprob, 1))

        yield shifted


def test_a_fault_of_the_backend_is_found_before_the_first_shard(finished, tiny, monkeypatch):
    monkeypatch.setattr(Transformers, "open", off_by_one)
    with pytest.raises(ModelError, match="disagrees with transformers"):
        run(load_recipe("recipe.yaml"), until="represent")
    assert not list((tiny / "runs/tiny/represent").rglob("*.safetensors"))


def test_what_changes_no_distribution_is_given_to_the_work_and_not_hashed(tiny):
    def planned(**capture):
        sources = SETTINGS["sources"] | {"qwen": {"model": "input/models/qwen", "capture": capture}}
        write_recipe(tiny / "recipe.yaml", sources=sources)
        return open_run(load_recipe("recipe.yaml")).jobs["represent/qwen"]

    plain, loose = planned(backend="transformers"), planned(backend="transformers", probe_bound=0.5)
    assert (plain.means["probe_bound"], loose.means["probe_bound"]) == (None, 0.5)
    assert plain.fingerprint == loose.fingerprint
    assert "probe_bound" not in loose.hashed["capture"]
