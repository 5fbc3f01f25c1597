"""A tokenizer that follows its ``tokenizer.json``, where transformers would build a different one.

transformers 5 rebuilds tokenizers of some classes (``GPT2Tokenizer``, ``LlamaTokenizer``) from vocabulary and
merges, with the class's own rules instead of the file's: digits are no longer split, spaces are joined
differently, and a model gets ids that it never saw in training. Both are tried on probe texts; where they
differ, the file's rules are used.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from fusionchat.artifacts import Json, read_json
from fusionchat.errors import TokenizerError

if TYPE_CHECKING:
    from tokenizers import AddedToken, Tokenizer
    from transformers import PreTrainedTokenizerBase

PROBES = (
    "1", "12", "1212", "2024-05-17 at 3.14159 and 1,000,000; x2y3", "007 00 0x1F 1e-5", "١٢٣ ४५६ １２３ ²³ ½ Ⅷ",
    "Hello", " Hello", "  two", "   three spaces  inside   and after ", "\ta\t\tb", "a \n b", "\n", "\n\n\n", "a\n\n  b\r\nc",
    "I'm you're he'll we've I'd don't it's O'Neill's 'quoted' \"so\"", "I’m DON'T IT'S", "camelCase snake_case SCREAMING_CASE",
    "def f(x):\n    return {'a': x[0] ** 2}  # why\n\n\tif x != y and not z: pass", "<div class=\"a\">&amp;</div> https://a.b/c?d=e%20f#g",
    "Grüße, façade, naïve, İstanbul, ß ẞ", "e\u0301 \u00e9 n\u0303 \u00f1 A\u030a", "ﬁ ﬂ ① ㎏ ＡＢＣ",
    "Привет, мир! Ёлка", "Γειά σου Κόσμε", "שלום עולם", "مرحبا بالعالم", "नमस्ते दुनिया", "สวัสดีชาวโลก", "안녕하세요 세계",
    "你好，世界。天地玄黄", "こんにちは、世界！カタカナ", "🙂 👍🏽 👩‍👩‍👧 🇩🇪 ❤️",
    "a\u00a0b\u200bc\u2028d\u3000e\ufeff", "… — – “x” «y» ‚z‘ •",
    "$5 €6 £7 50% #1 @me a+b=c ~/.x \\n \\\\", "ALL CAPS Mixed lower", "!!! ??? ... ---- ____ ==== ****",
    "Ĝ Ġ Ċ ▁ ▁▁ <0x0A> ##ing",
)  # fmt: skip
"""Texts on which the rules of tokenizers differ.

Digits, spaces, code, contractions, character forms, scripts, emoji.
"""
_TOGETHER = 16
_CONFIG = "tokenizer_config.json"
FLAGS = ("special", "normalized", "lstrip", "rstrip", "single_word")


def probes(file: "Tokenizer") -> Iterator[str]:
    """`PROBES`, and texts around every added token, several tokens in each."""
    yield from PROBES
    added = [token.content for _, token in sorted(file.get_added_tokens_decoder().items())]
    for at in range(0, len(added), _TOGETHER):
        some = added[at : at + _TOGETHER]
        yield "".join(f"a{token}b" for token in some)
        yield "".join(f"a {token} 1\n{token}\nb" for token in some)


def read_file(path: Path) -> "Tokenizer":
    """The tokenizer of a ``tokenizer.json``, without the length limits that some files set.

    Raises:
        TokenizerError: It cannot be read.
    """
    from tokenizers import Tokenizer

    try:
        file = Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises plain Exception
        raise TokenizerError(
            f"This tokenizer is damaged: {error}", where=str(path), do="save or download it again"
        ) from error
    file.no_truncation()
    file.no_padding()
    return file


def first_difference(tokenizer: "PreTrainedTokenizerBase", file: "Tokenizer") -> str | None:
    """The first probe that a loaded tokenizer and its file cut into different ids; None if there is none."""
    return next((text for text in probes(file) if _ids(tokenizer, text) != _ids_of_file(file, text)), None)


def _ids(tokenizer: "PreTrainedTokenizerBase", text: str) -> list[int] | None:
    """The ids of a text; None if it fails, as where its class needs a token that the vocabulary lacks."""
    try:
        return list(tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])
    except Exception:  # the library raises plain Exception
        return None


def _ids_of_file(file: "Tokenizer", text: str) -> list[int] | None:
    try:
        return file.encode(text, add_special_tokens=False).ids
    except Exception:  # the library raises plain Exception
        return None


def with_rules_of(tokenizer: "PreTrainedTokenizerBase", path: Path) -> "PreTrainedTokenizerBase":
    """The loaded tokenizer's settings (special tokens, template, limits) over the rules of its file.

    Tokens that only ``tokenizer_config.json`` names are added under their ids.

    Raises:
        TokenizerError: They cannot be added, so neither tokenizer is right.
    """
    from transformers import PreTrainedTokenizerFast

    file = read_file(path)
    for row, token in _of_config(path.parent):
        if file.token_to_id(token.content) is None:
            (file.add_special_tokens if token.special else file.add_tokens)([token])
            if file.token_to_id(token.content) != row:
                raise TokenizerError(
                    f"{_CONFIG} adds {token.content!r} as {row}, where {path.name} has other tokens",
                    where=str(path.parent),
                    do="save the tokenizer again with the version of transformers that it was made with",
                )
    made = PreTrainedTokenizerFast(
        tokenizer_object=file,
        chat_template=tokenizer.chat_template,
        model_max_length=tokenizer.model_max_length,
        padding_side=tokenizer.padding_side,
        truncation_side=tokenizer.truncation_side,
        clean_up_tokenization_spaces=tokenizer.clean_up_tokenization_spaces,
        model_input_names=tokenizer.model_input_names,
        **_roles(tokenizer, file, path.parent),
    )
    made.name_or_path = tokenizer.name_or_path
    text = first_difference(made, read_file(path))
    if text is not None:
        raise TokenizerError(
            f"transformers cuts {text!r} into other tokens than {path.name} does",
            where=str(path.parent),
            do="save the tokenizer again with the version of transformers that it was made with",
        )
    return made


def _roles(tokenizer: "PreTrainedTokenizerBase", file: "Tokenizer", folder: Path) -> dict[str, str]:
    """The special tokens by role, without a class's defaults that the file does not have."""
    named = json.dumps(_config(folder), ensure_ascii=False)
    return {
        role: token
        for role, token in tokenizer.special_tokens_map.items()
        if isinstance(token, str)
        and (file.token_to_id(token) is not None or json.dumps(token, ensure_ascii=False) in named)
    }


def _config(folder: Path) -> dict[str, Json]:
    path = folder / _CONFIG
    return read_json(path) if path.is_file() else {}


def _of_config(folder: Path) -> list[tuple[int, "AddedToken"]]:
    """The added tokens that a folder's ``tokenizer_config.json`` lists, by row."""
    from tokenizers import AddedToken

    listed = _config(folder).get("added_tokens_decoder")
    return [
        (int(row), AddedToken(str(entry["content"]), **{f: bool(entry.get(f)) for f in FLAGS}))
        for row, entry in sorted(
            (listed if isinstance(listed, dict) else {}).items(), key=lambda e: int(e[0])
        )
        if isinstance(entry, dict)
    ]
