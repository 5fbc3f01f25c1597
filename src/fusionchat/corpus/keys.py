"""What keys of records and turns mean: harmless, unsupported, or switches of the loss.

A key that is in no list here and that nothing reads is never ignored silently: the record is used, and the
key is counted by name for `check` and the report.
"""

import math
import re
from collections.abc import Mapping

NAMES_AND_ORIGIN = """
id idx index key uid uuid guid row turn_identifier __index_level_0__
source dataset dataset_name data_source origin url license licence author creator annotator annotators split
model model_name generator generated_by teacher file filename path version state country hashed_ip ip header
timestamp timestamps created created_at updated_at create_time update_time date time
"""
SUBJECT_AND_QUALITY = """
domain language lang locale category categories topic topics full_topic subject subjects task task_type type subset
tag tags keywords difficulty level title views likes upvotes rank quality perplexity synthetic
toxic toxicity redacted moderation openai_moderation detoxify_moderation detoxify nsfw emojis review_result
metadata meta stats avatar avatar_url avatarUrl
"""
HARMLESS = frozenset(NAMES_AND_ORIGIN.split() + SUBJECT_AND_QUALITY.split())
"""Keys that describe a text without changing it."""

LABEL = re.compile(r"(^|[_-])(id|hash|model)$")
"""Names of labels, if their value is one: `prompt_id`, `conversation_hash`, `chosen-model`."""

MEASURE = re.compile(
    r"(^|[_-])(n|num|count|turns?|tokens?|length|len|chars|words|score|rating|reward)($|[_-])"
)
"""Names of measures, if their value is a number: `num_turns`, `score_chosen`, `prompt_tokens`."""

SWITCHES = re.compile(r"train|loss|mask|weight|skip|ignore|only")
"""Parts of names that may switch something: `train_on_last_turn`, `mask_tokens`."""

FLAGS = frozenset(["custom_instruction", "skip_prompt_formatting"])
"""Keys that are harmless if their value is a boolean."""

BEYOND_TEXT = """
tools functions function_call function_calls tool_calls tool_call_id available_tools tool_choice
image images image_url video videos audio audios
"""

REFUSED_RECORD = frozenset([*BEYOND_TEXT.split(), "documents"])
"""Keys of a record that add something to the dialogue beside its turns."""

REFUSED_TURN = frozenset([*BEYOND_TEXT.split(), "train_detail", "training_detail"])
"""Keys of a turn that make it more than its text, or that train on parts of it."""

LOSS_ON = ("train", "training", "trainable", "train_on_turn", "loss", "loss_mask", "weight", "loss_weight")
"""Switches that include a turn in the loss (1 or true) or exclude it (0 or false).

They are those of OpenAI, Mistral, axolotl and ms-swift.
"""

LOSS_OFF = ("masked", "mask", "mask_loss", "ignore_loss")
"""Switches that exclude a turn from the loss if true (torchtune)."""

UNWANTED = ("label", "kto_tag")
"""Keys that are false for an undesired answer (KTO in TRL and LLaMA-Factory)."""

THOUGHTS = ("reasoning_content", "reasoning", "thinking")
"""Keys of an assistant turn with the thoughts before its content."""

SWITCH = {"true": True, "1": True, "1.0": True, "false": False, "0": False, "0.0": False}


class Unusable(Exception):
    """Why a record cannot be used: a short reason to count by, and the detail."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(reason)
        self.reason, self.detail = reason, detail


def missing(value: object) -> bool:
    """Whether a value is missing: null, NaN, empty, or a mapping of these, as tables fill absent cells."""
    if isinstance(value, float):
        return math.isnan(value)
    if isinstance(value, dict):
        return all(missing(inner) or inner is False for inner in value.values())
    return value is None or value in ("", [])


def given(record: Mapping[object, object]) -> dict[str, object]:
    """The keys of a record that are not missing, with their values."""
    return {str(key): value for key, value in record.items() if not missing(value)}


def refuse(record: Mapping[str, object], refused: frozenset[str]) -> None:
    """Raise Unusable where a record or turn has an unsupported key."""
    for key in sorted(refused & record.keys()):
        if record[key] not in (False, "[]", "{}", "null"):  # lists are also stored as JSON text
            raise Unusable(f"key `{key}` is not supported")


def unused(record: Mapping[str, object], used: frozenset[str]) -> list[str]:
    """Keys with a value that nothing reads and that are not known to be harmless."""
    return sorted(key for key in record.keys() - used if not harmless(key, record[key]))


def harmless(key: str, value: object) -> bool:
    """Whether a key only describes the text."""
    if key in HARMLESS:
        return True
    if key in FLAGS:
        return isinstance(value, bool)
    if isinstance(value, bool):
        return False
    if isinstance(value, int | float):
        return LABEL.search(key) is not None or (MEASURE.search(key) is not None and not SWITCHES.search(key))
    return LABEL.search(key) is not None and isinstance(value, str)


def bears_loss(record: Mapping[str, object]) -> bool | None:
    """Whether the switches of a record or turn include it in the loss; None if there are none.

    Raises:
        Unusable: A switch is neither on nor off (a weight of 0.5, for example), or two of them disagree.
    """
    said: dict[bool, str] = {}
    for key in (*LOSS_ON, *LOSS_OFF):
        if key in record:
            state = SWITCH.get(str(record[key]).strip().lower())
            counts = not (key == "mask" and not isinstance(record[key], bool))  # a mask of 1 is ambiguous
            if state is None or not counts:
                raise Unusable(f"`{key}` is neither true nor false", str(record[key])[:80])
            said[state if key in LOSS_ON else not state] = key
    if len(said) > 1:
        raise Unusable("keys that turn the loss on or off disagree", f"{said[True]}, {said[False]}")
    return next(iter(said), None)
