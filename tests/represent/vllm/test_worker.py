"""The process with vLLM: its answers, its last words, and its end with ours."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fusionchat.corpus.rendered_part import join
from fusionchat.errors import ModelError
from fusionchat.host import is_running
from fusionchat.models.ref import ModelRef
from fusionchat.represent.asked import Asked
from fusionchat.represent.capture.vllm import Vllm
from fusionchat.represent.vllm.worker import environment, version_in
from tests.represent.test_forward import conversation
from tests.represent.vllm.interpreter import interpreter

TOKENS = 30
LOGITS = np.random.default_rng(0).normal(0, 2, (TOKENS, TOKENS))
LOGPROBS = (LOGITS - np.logaddexp.reduce(LOGITS, axis=1, keepdims=True)).astype(np.float32)
RENDERED = join([conversation(3, 1, 4, 1, 5), conversation(2, 7)])
NAMES = ["x", "y"]


@pytest.fixture
def asked(tmp_path):
    np.save(tmp_path / "bigram.npy", LOGPROBS)
    folder = str(tmp_path)
    return Asked(
        ModelRef("a", folder, folder),
        vocabulary=TOKENS,
        k=4,
        dtype="float32",
        device="cpu",
        batch_tokens=64,
        longest=5,
    )


@pytest.fixture
def backend(tmp_path):
    return Vllm(python=interpreter(tmp_path))


def test_it_captures_what_vllm_gives(asked, backend):
    done = []
    with backend.open(asked) as worker:
        assert worker.version == "0.0.fake"
        scored = worker(RENDERED, names=NAMES, advance=done.append)
        again = worker(RENDERED[1:2], names=NAMES[1:], advance=done.append)
    own = LOGPROBS[[3, 1, 4, 1, 2]]
    order = np.argsort(-own, axis=1)[:, :4]
    np.testing.assert_array_equal(scored.topk.ids, order)
    kept = np.take_along_axis(own, order, 1)
    np.testing.assert_allclose(scored.topk.logprobs, kept, rtol=1e-3, atol=1e-6)
    np.testing.assert_allclose(np.exp(scored.topk.tail.astype(float)), 1 - np.exp(kept).sum(1), rtol=2e-3)
    np.testing.assert_array_equal(scored.label_logprob, own[np.arange(5), [1, 4, 1, 5, 7]])
    np.testing.assert_array_equal(again.label_logprob, scored.label_logprob[4:])
    assert done == [int(RENDERED.lengths.sum()), int(RENDERED.lengths[1])]


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("open", "vLLM fails: ValueError: no kernel for this head size"),
        ("crash", r"its process ended \(7\)[\s\S]*\| the last words"),
        ("tokens", "vLLM answers with other tokens than it was given"),
    ],
)
def test_what_goes_wrong_in_it_is_one_message_with_its_last_lines(
    asked, backend, monkeypatch, fault, message
):
    monkeypatch.setenv("FAKE_VLLM", fault)
    with pytest.raises(ModelError, match=message) as caught, backend.open(asked) as worker:
        worker(RENDERED, names=NAMES, advance=lambda _: None)
    assert caught.value.where == "sources.a.capture" and (
        "crash" in fault or "Traceback" in str(caught.value)
    )


def gone(pids):
    for _ in range(100):
        if not any(is_running(pid) and "Z" not in state(pid) for pid in pids):
            return True
        time.sleep(0.1)
    return False


def state(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "Z"


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks processes up in /proc")
def test_an_error_of_ours_ends_it_and_what_it_started(asked, backend, monkeypatch, tmp_path):
    monkeypatch.setenv("FAKE_VLLM", "child")
    monkeypatch.setenv("FAKE_PIDS", str(tmp_path / "pids"))
    with pytest.raises(KeyboardInterrupt), backend.open(asked):
        raise KeyboardInterrupt
    assert gone([int(pid) for pid in (tmp_path / "pids").read_text().split()])


CODE = """
import sys, time
from fusionchat.models.ref import ModelRef
from fusionchat.represent.asked import Asked
from fusionchat.represent.capture.vllm import Vllm
ref = ModelRef("a", sys.argv[2], sys.argv[2])
asked = Asked(ref, vocabulary=9, k=4, dtype="float32", device="cpu", batch_tokens=64, longest=5)
with Vllm(python=sys.argv[1]).open(asked):
    print("open", flush=True)
    time.sleep(60)
"""


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks processes up in /proc")
def test_killing_our_process_ends_it_and_what_it_started(asked, backend, tmp_path):
    held = {**os.environ, "FAKE_VLLM": "child", "FAKE_PIDS": str(tmp_path / "pids")}
    process = subprocess.Popen(
        [sys.executable, "-c", CODE, backend.python, asked.ref.model], stdout=subprocess.PIPE, env=held
    )
    assert process.stdout.readline() == b"open\n"
    pids = [int(pid) for pid in (tmp_path / "pids").read_text().split()]
    assert all(is_running(pid) for pid in pids)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert gone(pids)


def test_a_conversation_that_is_longer_than_was_said_is_an_error(asked, backend):
    with pytest.raises(ModelError, match="AssertionError"), backend.open(replace(asked, longest=3)) as worker:
        worker(RENDERED, names=NAMES, advance=lambda _: None)


def test_our_packages_are_not_in_its_environment(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", "/ours")
    assert "PYTHONPATH" not in environment() and environment()["VLLM_NO_USAGE_STATS"] == "1"


def test_an_interpreter_without_vllm_has_no_version(tmp_path):
    assert version_in(sys.executable) == ""
    assert version_in(interpreter(tmp_path)) == "unknown"  # a module without metadata
    with pytest.raises(OSError, match="No such file"):
        version_in("/no/such/python")
