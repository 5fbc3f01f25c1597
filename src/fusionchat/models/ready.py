"""What happens before transformers reads a model: files checked, hub asked once, output silenced."""

import logging
import warnings

from fusionchat.damage import verified_folder
from fusionchat.hub import Place, ask_the_hub_once

for _name in ("bitsandbytes", "accelerate.big_modeling"):  # peft imports the first one if it is installed
    logging.getLogger(_name).setLevel(logging.ERROR)

OWN_CODE = "trust_remote_code"
"""The setting that transformers names when it refuses to run a model's own files."""


def ready(place: Place, endings: tuple[str, ...]) -> None:
    """Check a run's own files of these endings before a model is read, or ask the hub for them."""
    quiet()
    if place.path is not None:
        verified_folder(place.path, endings=endings)
    else:
        ask_the_hub_once()


def quiet() -> None:
    """Silence transformers' progress bars and warnings, which would break ours; errors still appear."""
    from huggingface_hub.utils import logging as hub_logging
    from transformers.utils import logging as transformers_logging

    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    warnings.filterwarnings(
        "ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning
    )  # peft asks for it
    hub_logging.set_verbosity_error()


def first_line(error: Exception) -> str:
    """The message of an error of transformers, in one line."""
    if OWN_CODE in str(error):
        return "it needs Python files that come with it, and these are run only with `trust_remote_code`"
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def advice(place: Place, error: Exception) -> str:
    """What to do about an error of transformers with a model."""
    if OWN_CODE in str(error):
        return (
            "use a model whose structure and tokenizer transformers supports; or read its Python files, and "
            "set trust_remote_code"
        )
    if place.path is not None:
        return "check that the folder holds a complete model"
    return "check the id and your connection, or give a local folder"
