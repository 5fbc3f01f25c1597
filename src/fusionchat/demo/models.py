"""The three tiny chat LLMs: structure, tokenizer, chat format, and strong domains."""

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import torch
from transformers import (
    AutoModelForCausalLM,
    GenerationConfig,
    LlamaConfig,
    MixtralConfig,
    PreTrainedConfig,
    PreTrainedTokenizerFast,
    Qwen2Config,
)

from fusionchat.demo.corpus import fusion_corpus, training_text
from fusionchat.demo.domains import DOMAINS
from fusionchat.demo.tokenizer import FORMATS, Kind, chat_tokenizer, train_tokenizer
from fusionchat.demo.train import Row, Schedule, batches, encode, train
from fusionchat.models.ready import quiet

CONTEXT = 256
"""Positions of the models; the demo's conversations are shorter than that."""
VOCABULARY = {"sentencepiece": 1000, "bytelevel": 1400}
TOKENIZER_TEXT = 4000
"""The number of conversations on which the tokenizers are trained."""


@dataclass(frozen=True)
class ModelSpec:
    """One tiny chat LLM.

    Attributes:
        structure: Its configuration class, which determines the structure.
        shape: Its sizes.
        tokenizer: Which of the two tokenizers it has.
        chat: Its entry in `FORMATS`.
        strong: The domains that it sees often.
        weak: How often it sees each of the others, relative to a strong one.
        schedule: Its training at scale 1.
    """

    structure: Callable[..., PreTrainedConfig]
    shape: Mapping[str, int]
    tokenizer: Kind
    chat: str
    strong: tuple[str, ...]
    weak: float
    schedule: Schedule

    def mixture(self) -> dict[str, float]:
        """Weight of each domain in its training text."""
        return {domain: 1.0 if domain in self.strong else self.weak for domain in DOMAINS}


_SIZE = {"hidden_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2}

SPECS: dict[str, ModelSpec] = {
    "pivot": ModelSpec(
        LlamaConfig, _SIZE | {"intermediate_size": 344}, "sentencepiece", "openchat",
        tuple(DOMAINS), 1.0, Schedule(3000, learning_rate=4e-3),
    ),
    "mixtral": ModelSpec(
        MixtralConfig,
        _SIZE | {"intermediate_size": 160, "num_local_experts": 4, "num_experts_per_tok": 2},
        "sentencepiece", "instruct", ("writing", "roleplay", "extraction", "humanities"), 0.2, Schedule(5000, learning_rate=3e-3),
    ),
    "qwen": ModelSpec(
        Qwen2Config, _SIZE | {"intermediate_size": 344}, "bytelevel", "chatml",
        ("reasoning", "math", "coding", "stem"), 0.2, Schedule(5000, learning_rate=3e-3),
    ),
}  # fmt: skip


def schedule_of(name: str, scale: float) -> Schedule:
    """A model's training at a scale: fewer conversations, everything else unchanged."""
    full = SPECS[name].schedule
    conversations = max(16 * full.batch, round(full.conversations * scale))
    return Schedule(conversations, full.batch, full.learning_rate, full.weight_decay)


def tokenizer_of(name: str, seed: int, without: set[str]) -> PreTrainedTokenizerFast:
    """A model's tokenizer with its chat template.

    Models with the same kind of tokenizer get the same vocabulary.
    """
    spec = SPECS[name]
    uniform = dict.fromkeys(DOMAINS, 1.0)
    records = islice(training_text(seed, "tokenizer", uniform, without), TOKENIZER_TEXT)
    texts = [message["content"] for record in records for message in record.chat()]
    tokenizer = train_tokenizer(spec.tokenizer, texts, VOCABULARY[spec.tokenizer])
    return chat_tokenizer(tokenizer, FORMATS[spec.chat], CONTEXT)


def config_of(name: str, tokenizer: PreTrainedTokenizerFast) -> PreTrainedConfig:
    """A model's configuration for its tokenizer."""
    spec = SPECS[name]
    return spec.structure(
        vocab_size=len(tokenizer),
        max_position_embeddings=CONTEXT,
        initializer_range=0.08,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        **spec.shape,
    )


def make_model(folder: Path, name: str, *, seed: int, scale: float, advance: Callable[[int], None]) -> float:
    """Train a model from scratch, save it as a Hugging Face folder; returns its last loss, nats a token.

    It uses only one thread, so that the weights depend on the seed and the machine's arithmetic, not on its
    number of cores.
    """
    spec, schedule = SPECS[name], schedule_of(name, scale)
    corpus = fusion_corpus(seed, scale)
    without = {record.key for records in corpus.values() for record in records}
    tokenizer = tokenizer_of(name, seed, without)
    stream = training_text(seed, name, spec.mixture(), without)

    def rows(count: int) -> list[Row]:
        return encode(tokenizer, list(islice(stream, count)), CONTEXT)

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(random.Random(f"weights/{seed}/{name}").randrange(2**31))
            model = AutoModelForCausalLM.from_config(config_of(name, tokenizer), dtype=torch.float32)  # type: ignore[no-untyped-call]
            loss = train(model, batches(rows, schedule, seed), schedule, advance)
    finally:
        torch.set_num_threads(threads)
    model.generation_config = GenerationConfig(  # type: ignore[no-untyped-call]
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    quiet()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return loss
