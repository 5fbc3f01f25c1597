"""Plain scoring is the model's own logits, one conversation at a time; and what cannot be scored is said."""

import numpy as np
import pytest
import torch

from fusionchat import machine_memory
from fusionchat.corpus.rendered_part import join
from fusionchat.errors import ModelError
from fusionchat.models.ref import ModelRef
from fusionchat.represent import plain
from fusionchat.represent.plain import score_plainly, why_not
from tests.represent.test_forward import TOKENS, conversation, made_head


def scored(folder, **changes):
    ref = ModelRef("a", str(folder), str(folder))
    asked = {"candidates": 6, "vocabulary": TOKENS, "device": "cpu"} | changes
    return score_plainly(ref, join([conversation(3, 1, 4, 1, 5), conversation(2, 7)]), **asked)


def test_it_gives_the_models_own_log_probabilities(tmp_path):
    model = made_head().model
    model.save_pretrained(tmp_path)
    found = scored(tmp_path)
    with torch.no_grad():
        own = model(torch.tensor([[3, 1, 4, 1, 5]])).logits[0].log_softmax(-1).numpy()
    assert found.ids.shape == found.logprobs.shape == (5, 6)
    np.testing.assert_allclose(found.label_logprob[:4], own[[0, 1, 2, 3], [1, 4, 1, 5]], rtol=1e-5)
    order = np.argsort(-own[:4, :TOKENS], axis=1)[:, :6]
    np.testing.assert_array_equal(found.ids[:4], order)
    np.testing.assert_allclose(found.logprobs[:4], np.take_along_axis(own[:4], order, 1), rtol=1e-5)
    assert scored(tmp_path, candidates=100).ids.shape == (5, TOKENS)


def test_weights_that_are_not_here(tmp_path):
    ref = ModelRef("a", str(tmp_path), str(tmp_path))
    assert why_not(ref, parameters=None, downloads=True) == "its weights are not on this machine"
    hub = ModelRef("a", "nobody/nothing", "nobody/nothing", revision="0" * 40)
    assert why_not(hub, parameters=None, downloads=False) == "its weights are not on this machine"
    assert why_not(hub, parameters=None, downloads=True) == ""
    assert "transformers does not open it" in scored(tmp_path)


@pytest.mark.parametrize(("parameters", "fits"), [(10**9, True), (2 * 10**9, False), (None, True)])
def test_a_model_must_fit_into_memory(tmp_path, monkeypatch, parameters, fits):
    (tmp_path / "model.safetensors").touch()
    monkeypatch.setattr(machine_memory, "available", lambda: 8e9)
    reason = why_not(ModelRef("a", str(tmp_path), str(tmp_path)), parameters=parameters, downloads=True)
    assert reason == ("" if fits else "it does not fit into this machine's memory in float32")


@pytest.mark.parametrize("kind", [RuntimeError("[enforce fail] can't allocate memory"), MemoryError()])
def test_a_model_that_memory_cannot_hold_is_said_so_while_it_is_loaded(tmp_path, monkeypatch, kind):
    """Loading wraps every error in its own, which has the cause."""

    def refuse(ref, *, dtype, device):
        raise ModelError("The model cannot be loaded") from kind

    monkeypatch.setattr(plain, "load_model", refuse)
    assert scored(tmp_path) == "it does not fit into the memory of cpu in float32"
