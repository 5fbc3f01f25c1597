"""Stands in for vLLM in its own environment: a bigram model, ``bigram.npy``, whose answers have vLLM's form."""

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np

__version__ = "0.0.fake"
FAULT = os.environ.get("FAKE_VLLM", "")


class SamplingParams:
    def __init__(self, *, temperature, max_tokens, prompt_logprobs, flat_logprobs, detokenize):
        assert (temperature, max_tokens, flat_logprobs, detokenize) == (0.0, 1, True, False)
        self.k = prompt_logprobs


class LLM:
    def __init__(self, model, max_model_len, max_num_batched_tokens, **engine):
        sys.stdout.write("vLLM writes to stdout\n")
        if FAULT == "open":
            raise ValueError("no kernel for this head size")
        if FAULT == "crash":
            sys.stderr.write("the last words\n")
            sys.stderr.flush()
            os._exit(7)
        if FAULT == "child":  # as vLLM's own engine process
            child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
            Path(os.environ["FAKE_PIDS"]).write_text(f"{os.getpid()} {child.pid}")
        assert not engine["enable_prefix_caching"] and engine["logprobs_mode"] == "raw_logprobs"
        self.longest = max_model_len
        self.logprobs_VV = np.load(Path(model) / "bigram.npy")

    def generate(self, prompts, settings, *, use_tqdm):
        return [self._one(prompt["prompt_token_ids"], settings.k) for prompt in prompts]

    def _one(self, ids, k):
        assert len(ids) < self.longest
        flat = SimpleNamespace(start_indices=[0], end_indices=[0], token_ids=[], logprobs=[])
        for row, token in zip(self.logprobs_VV[ids[:-1]], ids[1:], strict=True):
            top = np.argsort(-row)[:k]
            flat.start_indices.append(len(flat.token_ids))
            flat.token_ids += [token, *top.tolist()]
            flat.logprobs += [float(row[token]), *row[top].tolist()]
            flat.end_indices.append(len(flat.token_ids))
        sent = [*ids[:-1], 0] if FAULT == "tokens" else ids
        return SimpleNamespace(prompt_token_ids=sent, prompt_logprobs=flat)
