"""The settings of the vLLM backend: what vLLM is made with, what is hashed, what check says."""

import sys
from dataclasses import replace

import pytest
from pydantic import ValidationError

from fusionchat.errors import ModelError, RecipeError
from fusionchat.models.ref import ModelRef
from fusionchat.represent.asked import Asked
from fusionchat.represent.capture import BACKENDS
from fusionchat.represent.capture.vllm import OF_THE_MODEL, Vllm
from fusionchat.represent.vllm import worker
from tests.represent.vllm.interpreter import interpreter

PLACE = "sources.a.capture"


def asked(tmp_path, **changes):
    held = {"vocabulary": 90, "k": 7, "dtype": "bfloat16", "longest": 300} | changes
    return Asked(ModelRef("a", str(tmp_path), str(tmp_path)), device="cpu", batch_tokens=64, **held)


def test_what_vllm_is_made_with(tmp_path):
    made = Vllm(tensor_parallel=4, step_tokens=64, engine={"quantization": "awq", "seed": 3}).engine_of(
        asked(tmp_path)
    )
    assert (
        made["model"] == str(tmp_path) and made["tensor_parallel_size"] == 4 and made["dtype"] == "bfloat16"
    )
    assert (made["max_model_len"], made["max_logprobs"]) == (301, 7)
    assert (made["max_num_batched_tokens"], made["max_num_seqs"]) == (64, 64)
    assert made["enable_chunked_prefill"] and not made["enable_prefix_caching"]
    assert made["logprobs_mode"] == "raw_logprobs" and made["skip_tokenizer_init"]
    assert (made["quantization"], made["seed"]) == ("awq", 3)
    hub = Asked(ModelRef("a", "nobody/x", "nobody/x", revision="v1"), 9, 99, "float32", "cpu", 64)
    made = Vllm().engine_of(hub)
    assert (made["model"], made["revision"], made["max_logprobs"]) == ("nobody/x", "v1", 9)


@pytest.mark.parametrize("name", OF_THE_MODEL)
def test_what_names_a_models_files_is_set_at_the_model(name):
    with pytest.raises(ValidationError, match=f"{name} belongs to the model, beside `capture:`; set `"):
        Vllm(engine={"quantization": "awq", name: True})


def test_the_models_own_python_files_run_where_it_says_so_and_only_pinned(tmp_path):
    assert Vllm().engine_of(asked(tmp_path))["trust_remote_code"] is False
    own = replace(asked(tmp_path), ref=ModelRef("a", str(tmp_path), str(tmp_path), own_code=True))
    assert Vllm().engine_of(own)["trust_remote_code"] is True
    moving = replace(own, ref=ModelRef("a", "nobody/x", "nobody/x", revision="v1", own_code=True))
    with pytest.raises(ModelError, match="trust_remote_code runs Python files of nobody/x, which may change"):
        Vllm().engine_of(moving)


def test_where_and_how_fast_it_runs_is_not_hashed():
    backend = Vllm(python="p", tensor_parallel=2, max_num_seqs=3, step_tokens=5, memory=0.5, eager=False)
    assert backend.model_dump(mode="json") == {"backend": "vllm", "engine": {}}
    assert Vllm().model_copy(update=backend.means) == backend
    assert BACKENDS["vllm"] is Vllm and Vllm.reads_weights and str(backend) == "vllm"


def test_what_is_not_there_is_one_clear_line(tmp_path, monkeypatch):
    assert (
        Vllm(python=interpreter(tmp_path, has_vllm=False))
        .faults(PLACE, "m")[0]
        .startswith(f"{PLACE}.python: the interpreter {tmp_path}/python has no vLLM; docs/capture.md")
    )
    (line,) = Vllm(python="no/such/python").faults(PLACE, "m")
    assert line.startswith(f"{PLACE}.python: there is no interpreter no/such/python; docs/capture.md")
    (line,) = Vllm().faults(PLACE, "m")
    assert line.startswith(f"{PLACE}.python: this backend needs the interpreter")
    with pytest.raises(RecipeError, match="needs the interpreter"):
        Vllm().require(PLACE)
    broken = tmp_path / "broken"
    broken.write_text("neither script nor program")
    broken.chmod(0o755)
    assert "cannot be started" in Vllm(python=str(broken)).faults(PLACE, "m")[0]
    for python, words in (
        (str(broken), "cannot be started"),
        (interpreter(tmp_path, has_vllm=False), "has no vLLM"),
    ):
        with pytest.raises(RecipeError, match=words) as caught, Vllm(python=python).open(asked(tmp_path)):
            pass
        assert caught.value.where == f"{PLACE}.python"
    monkeypatch.setattr(worker, "version_in", lambda _: "9.9")
    assert (
        Vllm(python=sys.executable).faults(PLACE, "m") == [] and Vllm(python=sys.executable).version == "9.9"
    )
