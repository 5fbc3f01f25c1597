"""Tokenizers of every family, trained on the spot on a few lines of text."""

from functools import cache

from tokenizers import (
    AddedToken,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    trainers,
)
from transformers import PreTrainedTokenizerFast

LINES = [
    "The quick brown fox jumps over the lazy dog, and the dog sleeps.",
    "Hello there, hello world! How are you today? I am fine, thank you.",
    "def add(a, b):\n    return a + b\n",
    "你好，世界。今天天气很好。",
    "Привет, мир! שלום עולם",
    "naïve café résumé 😀 👩‍🚀",
] * 4
CONTROL = ["<s>", "</s>", "<|end|>"]


def wrap(tokenizer, **options):
    options = {"bos_token": "<s>", "eos_token": "</s>"} | options
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, clean_up_tokenization_spaces=False, **options)


def byte_level(*, prefix=False, normalizer=None):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=prefix)
    tokenizer.decoder = decoders.ByteLevel()
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=CONTROL, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(LINES, trainer)
    return wrap(tokenizer)


def llama_like(*, prefix=True, fallback=True):
    """SentencePiece BPE as converted checkpoints have it: a normalizer, no pre-tokenizer."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=fallback))
    steps = [normalizers.Prepend("▁")] if prefix else []
    tokenizer.normalizer = normalizers.Sequence([*steps, normalizers.Replace(" ", "▁")])
    steps = [decoders.Strip(" ", 1, 0)] if prefix else []
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), *steps]
    )
    pieces = [f"<0x{b:02X}>" for b in range(256)] if fallback else []
    trainer = trainers.BpeTrainer(
        vocab_size=620,
        special_tokens=["<unk>", *CONTROL, *pieces],
        show_progress=False,
        limit_alphabet=40 if fallback else 1000,
        max_token_length=8,
    )
    tokenizer.train_from_iterator([line.replace("😀", "") for line in LINES], trainer)
    # Byte pieces are ordinary entries of such vocabularies, not added tokens.
    import json

    state = json.loads(tokenizer.to_str())
    state["added_tokens"] = [a for a in state["added_tokens"] if not a["content"].startswith("<0x")]
    return wrap(Tokenizer.from_str(json.dumps(state)), unk_token="<unk>")


def gemma_like(*, normalized=False):
    """Gemma's form: runs of spaces, newlines and tabs and some HTML are pieces of the model *and* added tokens."""
    letters = [*"▁abcdefghijklmnopqrstuvwxyzBHT.<>/", "\n", "\t"]
    runs = ["▁" * n for n in range(2, 6)] + ["\n\n", "\n\n\n", "\t\t", "<table>", "</b>"]
    special = ["<unk>", *CONTROL, "<start_of_turn>", "<end_of_turn>"]
    pieces = [*special, *(f"<0x{b:02X}>" for b in range(256)), *letters, *runs]
    merges = [("▁", "▁"), ("▁▁", "▁"), ("▁▁", "▁▁"), ("▁▁▁", "▁▁"), ("\n", "\n"), ("\n\n", "\n")]
    vocab = {piece: index for index, piece in enumerate(dict.fromkeys(pieces))}
    tokenizer = Tokenizer(
        models.BPE(vocab=vocab, merges=merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True)
    )
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    tokenizer.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in special])
    tokenizer.add_tokens([AddedToken(t, special=False, normalized=normalized) for t in runs])
    return wrap(tokenizer, unk_token="<unk>")


def metaspace(scheme, *, kind="bpe"):
    model = models.Unigram() if kind == "unigram" else models.BPE(unk_token="<unk>")
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=scheme)
    tokenizer.decoder = decoders.Metaspace(prepend_scheme=scheme)
    special = ["<unk>", *CONTROL]
    if kind == "unigram":
        trainer = trainers.UnigramTrainer(
            vocab_size=300, special_tokens=special, unk_token="<unk>", show_progress=False
        )
    else:
        trainer = trainers.BpeTrainer(vocab_size=400, special_tokens=special, show_progress=False)
    tokenizer.train_from_iterator(LINES, trainer)
    return wrap(tokenizer, unk_token="<unk>")


def word_piece():
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    trainer = trainers.WordPieceTrainer(
        vocab_size=400, special_tokens=["[UNK]", *CONTROL], show_progress=False
    )
    tokenizer.train_from_iterator(LINES, trainer)
    return wrap(tokenizer, unk_token="[UNK]")


def characters():
    alphabet = sorted(set("".join(LINES)))
    vocab = {c: i for i, c in enumerate(["<unk>", *CONTROL, *alphabet])}
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=[], unk_token="<unk>"))
    tokenizer.decoder = decoders.Fuse()
    tokenizer.add_special_tokens(["<unk>", *CONTROL])
    return wrap(tokenizer, unk_token="<unk>")


@cache
def made():
    """One tokenizer of every family by name."""
    return {
        "byte-level": byte_level(),
        "byte-level with a prefix": byte_level(prefix=True),
        "byte-level NFC": byte_level(normalizer=normalizers.NFC()),
        "byte-level lower case": byte_level(normalizer=normalizers.Lowercase()),
        "sentencepiece": llama_like(),
        "sentencepiece without prefix": llama_like(prefix=False),
        "sentencepiece without fallback": llama_like(fallback=False),
        "metaspace always": metaspace("always"),
        "metaspace first": metaspace("first"),
        "metaspace never": metaspace("never"),
        "unigram": metaspace("always", kind="unigram"),
        "word piece": word_piece(),
        "characters": characters(),
    }


def add(tokenizer, *tokens, special=False, **flags):
    """Add tokens with flags; returns the tokenizer."""
    tokenizer.add_tokens([AddedToken(t, special=special, normalized=False, **flags) for t in tokens])
    return tokenizer
