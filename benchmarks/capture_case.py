"""What `benchmarks.capture` captures: SmolLM2-135M's structure with random weights, random text, and the capture itself."""

from collections.abc import Iterable

import numpy as np
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from fusionchat.corpus.render import Rendered
from fusionchat.corpus.rendered_part import RenderedPart, join
from fusionchat.models.head import Head
from fusionchat.represent.batching import ON_CPU
from fusionchat.represent.forward import capture

SHAPE = {"hidden_size": 576, "intermediate_size": 1536, "num_attention_heads": 9, "num_key_value_heads": 3}
LAYERS, K = 30, 10


def made_head(vocabulary: int, layers: int, dtype: torch.dtype) -> Head:
    """The model with random weights."""
    torch.manual_seed(0)
    config = LlamaConfig(vocab_size=vocabulary, num_hidden_layers=layers, tie_word_embeddings=True, **SHAPE)
    with torch.device("cpu"):
        return Head.of(LlamaForCausalLM(config).to(dtype).eval())


def made_text(tokens: int, vocabulary: int) -> RenderedPart:
    """Conversations of 240 to 260 tokens: in batches sorted by length hardly any is padding, as in a large corpus."""
    rng, lengths = np.random.default_rng(0), list[int]()
    while sum(lengths) < tokens:
        lengths.append(min(tokens - sum(lengths), int(rng.integers(240, 261))))
    return text_of(lengths, vocabulary)


def text_of(lengths: Iterable[int], vocabulary: int) -> RenderedPart:
    """Conversations of random tokens, the second half of each supervised."""
    rng, parts = np.random.default_rng(0), []
    for n in lengths:
        rows = np.arange(max(1, n // 2), n, dtype=np.int32)
        zero = np.zeros(len(rows), np.int32)
        parts.append(Rendered(rng.integers(0, vocabulary, n).astype(np.int32), rows, zero, zero, zero))
    return join(parts)


def ours(head: Head, text: RenderedPart) -> None:
    """The capture."""
    names = [str(i) for i in range(len(text))]
    vocabulary = head.weight.shape[0]
    capture(head, text, k=K, vocabulary=vocabulary, batch_tokens=ON_CPU, names=names, advance=lambda _: None)
