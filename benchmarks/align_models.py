"""The small trained models of ../shared/data/models, and their full distributions on TinyStories."""

import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from benchmarks.align_data import SHARED, render_all, usable
from fusionchat.corpus.conversation import Conversation, Message
from fusionchat.corpus.render import Renderer
from fusionchat.corpus.rendered_part import join
from fusionchat.represent.topk import Scored, TopK

TEXT = "{{ bos_token }}{% for m in messages %}{{ m.content }}{% endfor %}"
MODELS = {"babyllama105": "105 characters", "stories260k": "512 pieces", "tlm_gpt2_6k": "6,000 pieces"}


class Captured(NamedTuple):
    """One model's renderer and its full distributions."""

    renderer: Renderer
    scored: Scored


def stories(most: int, size: int = 160) -> list[Conversation]:
    """Pieces of about ``size`` characters of stories, short enough for a context of 64 tokens."""
    text = (SHARED / "text" / "tinystories_c.txt").read_text(encoding="utf-8")
    pieces, current = [], ""
    for sentence in re.split(r'\n+|(?<=[.!?"]) (?=[A-Z])', text):
        current = "" if "<" in sentence or not sentence.strip() else f"{current} {sentence.strip()}".strip()
        if len(current) > 0.7 * size:
            pieces += [current] if len(current) < 1.3 * size else []
            current = ""
    chosen = pieces[:: max(len(pieces) // most, 1)][:most]
    return [Conversation(str(i), (Message("assistant", piece),)) for i, piece in enumerate(chosen)]


def captured(most: int) -> dict[str, Captured]:
    """Full distributions of the three models on the same stories."""
    torch.set_num_threads(1)
    sides = {
        name: Renderer(AutoTokenizer.from_pretrained(SHARED / "models" / name), template=TEXT, name=name)
        for name in MODELS
    }
    items = list(usable(stories(most), list(sides.values())))
    return {name: Captured(side, full(name, side, items)) for name, side in sides.items()}


def full(name: str, side: Renderer, items: Sequence[Conversation]) -> Scored:
    """Every token's probability at every supervised row, with as many slots as tokens."""
    model = AutoModelForCausalLM.from_pretrained(SHARED / "models" / name).eval()
    file = SHARED / "models" / name / "lm_head_bias.npy"
    bias = torch.from_numpy(np.load(file)) if file.exists() else 0.0
    rendered = render_all(side, items)
    rows = []
    with torch.no_grad():
        for one in rendered:
            logits = model(torch.from_numpy(one.input_ids.astype(np.int64))[None]).logits[0].float() + bias
            rows.append(logits.log_softmax(-1)[torch.from_numpy(one.rows.astype(np.int64)) - 1].numpy())
    logprobs = np.concatenate(rows)
    tokens = join(rendered).supervised
    ids = np.argsort(-logprobs, axis=1, kind="stable").astype(np.int32)
    topk = TopK(
        ids=ids,
        logprobs=np.take_along_axis(logprobs, ids, 1).astype(np.float16),
        tail=np.full(tokens.rows, -np.inf, np.float16),
        present=np.ones(tokens.rows, np.bool_),
    )
    return Scored(tokens, topk, logprobs[np.arange(tokens.rows), tokens.labels].astype(np.float32))


def cut(scored: Scored, k: int) -> Scored:
    """The k likeliest tokens, the rest in the tail."""
    topk = scored.topk
    kept = topk.logprobs[:, :k]
    left = np.maximum(1.0 - np.exp(kept.astype(np.float64)).sum(axis=1), 0.0)
    if topk.k > k:
        left = np.exp(topk.logprobs[:, k:].astype(np.float64)).sum(axis=1) + np.exp(
            topk.tail.astype(np.float64)
        )
    with np.errstate(divide="ignore"):
        few = TopK(topk.ids[:, :k].copy(), kept.copy(), np.log(left).astype(np.float16), topk.present)
    return scored._replace(topk=few)
