"""The language model's part of a config.json: at its top, or in its ``text_config``.

Images, audio and the like have their own parts beside it. What a config leaves to its class (layer types that
follow from an interval, defaults) comes from transformers, if it knows the structure.
"""

from collections.abc import Mapping
from typing import Any

from fusionchat.artifacts import Json

Config = Mapping[str, Json]

_PARTS = ("text_config", "llm_config", "language_config", "thinker_config", "decoder")
"""Names of the language model's part, in the order of the search."""


def text_path(config: Config) -> tuple[str, ...]:
    """The keys that lead to the language model's settings; empty if they are at the top.

    >>> text_path({"thinker_config": {"text_config": {"num_hidden_layers": 4}}})
    ('thinker_config', 'text_config')
    """
    for key in _PARTS:
        part = config.get(key)
        if isinstance(part, dict):
            return (key, *text_path(part))
    return ()


def text_of(config: Config) -> dict[str, Json]:
    """The language model's settings."""
    for key in text_path(config):
        part = config[key]
        assert isinstance(part, dict)
        config = part
    return dict(config)


def with_text(config: Config, changes: Config) -> dict[str, Json]:
    """A config with changed settings of its language model.

    The top level changes too if it repeats a changed value.
    """
    path, old = text_path(config), text_of(config)
    if not path:
        return {**config, **changes}
    repeated = {k: v for k, v in changes.items() if k in config and k in old and config[k] == old[k]}
    return _inside({**config, **repeated}, path, changes)


def _inside(config: Config, path: tuple[str, ...], changes: Config) -> dict[str, Json]:
    if not path:
        return {**config, **changes}
    part = config[path[0]]
    assert isinstance(part, dict)
    return {**config, path[0]: _inside(part, path[1:], changes)}


def as_known(config: Config) -> dict[str, Json] | None:
    """The config as completed by its class in transformers; None if that does not know the structure."""
    made = config_object(config)
    if made is None:
        return None
    values: dict[str, Json] = made.to_dict()
    return values


def config_object(config: Config) -> Any:
    """The config as an object of its class in transformers; None if there is no class or it refuses it."""
    if not is_known(config) or "auto_map" in config:
        return None
    try:
        return made_of(config)
    except Exception:  # classes check their settings, and raise any type
        return None


def is_known(config: Config) -> bool:
    """Whether transformers has a class for a config's ``model_type``."""
    from transformers import CONFIG_MAPPING

    model_type = config.get("model_type")
    return isinstance(model_type, str) and model_type in CONFIG_MAPPING


def made_of(config: Config) -> Any:
    """The config as an object of its class in transformers, which may raise anything."""
    from transformers import CONFIG_MAPPING
    from transformers.utils import logging

    level = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        values = {key: _decoded(value) for key, value in config.items() if key != "auto_map"}
        return CONFIG_MAPPING[str(config["model_type"])].from_dict(values)
    finally:
        logging.set_verbosity(level)


def _decoded(value: Json) -> Json:
    """A setting as transformers reads it.

    Infinity and NaN, which JSON lacks, are ``{"__float__": "Infinity"}`` there.
    """
    if isinstance(value, list):
        return [_decoded(entry) for entry in value]
    if not isinstance(value, dict):
        return value
    if value.keys() == {"__float__"}:
        return float(str(value["__float__"]))
    return {key: _decoded(entry) for key, entry in value.items()}
