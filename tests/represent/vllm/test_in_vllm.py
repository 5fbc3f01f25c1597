"""Frames there and back, parts, and the entries of some places of a prompt."""

import io
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from fusionchat.represent.vllm import in_vllm
from fusionchat.represent.vllm.in_vllm import answer, entries, parts, receive, send


def test_frames_go_there_and_back():
    pipe = io.BytesIO()
    send(pipe, {"k": 3}, {"a": np.arange(6, dtype=np.int32).reshape(2, 3), "none": np.zeros(0, np.float32)})
    send(pipe, {"next": True}, {})
    pipe.seek(0)
    head, arrays = receive(pipe)
    assert (
        head == {"k": 3} and arrays["a"].tolist() == [[0, 1, 2], [3, 4, 5]] and arrays["a"].dtype == np.int32
    )
    assert arrays["none"].shape == (0,) and receive(pipe) == ({"next": True}, {})
    with pytest.raises(EOFError):
        receive(pipe)


def test_a_cut_frame_is_no_frame():
    pipe = io.BytesIO()
    send(pipe, {}, {"a": np.arange(6)})
    for size in (5, len(pipe.getvalue()) - 1):
        with pytest.raises(EOFError):
            receive(io.BytesIO(pipe.getvalue()[:size]))


def test_parts_hold_every_conversation_once_and_keep_to_the_size(monkeypatch):
    monkeypatch.setattr(in_vllm, "PART_TOKENS", 10)
    assert list(parts(np.array([0, 4, 10, 11, 30, 31]))) == [(0, 2), (2, 3), (3, 4), (4, 5)]
    assert list(parts(np.array([0]))) == []


FLAT = SimpleNamespace(
    start_indices=[0, 0, 2, 5],
    end_indices=[0, 2, 5, 6],
    token_ids=[7, 8, 1, 2, 3, 9],
    logprobs=[-1, -2, -3, -4, -5, -6],
)


def test_entries_of_some_places():
    ids, logprobs, counts = entries(FLAT, np.array([1, 3]))
    assert (ids.tolist(), logprobs.tolist(), counts.tolist()) == ([7, 8, 9], [-1, -2, -6], [2, 1])
    ids, _, counts = entries(FLAT, np.array([], np.int64))
    assert (ids.tolist(), counts.tolist()) == ([], [])


def test_answers_are_in_the_order_of_the_conversations_and_of_the_rows_asked_for():
    def generate(prompts, settings, *, use_tqdm):
        assert settings == "settings" and not use_tqdm
        return [
            SimpleNamespace(prompt_token_ids=p["prompt_token_ids"], prompt_logprobs=FLAT) for p in prompts
        ]

    asked = {
        "input_ids": np.arange(8), "starts": np.array([0, 4, 8]), "rows": np.array([3, 1, 2]), "offsets": np.array([0, 1, 3])
    }  # fmt: skip
    ((head, arrays),) = answer(SimpleNamespace(generate=generate), "settings", asked)
    assert head == {"conversations": 2}
    assert arrays["ids"].tolist() == [9, 7, 8, 1, 2, 3] and arrays["counts"].tolist() == [1, 2, 3]
    short = asked | {"starts": np.array([0, 4, 7])}
    with pytest.raises(ValueError, match="other tokens"):
        list(answer(SimpleNamespace(generate=generate), "settings", short))


def test_it_imports_nothing_that_vllms_environment_may_lack():
    """Only the standard library and numpy; vllm itself once a model is to be opened."""
    code = f"""
import runpy, sys
before = set(sys.modules)
runpy.run_path({in_vllm.__file__!r}, run_name="not main")
print({{name.partition(".")[0] for name in set(sys.modules) - before}} - set(sys.stdlib_module_names))
"""
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "{'numpy'}"
