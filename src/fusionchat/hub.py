"""The hub: whether it answers, and which commit a name stands for."""

import re
from functools import cache
from pathlib import Path
from typing import Literal

Kind = Literal["models", "datasets"]
COMMIT = re.compile(r"[0-9a-f]{40}")
ANSWERS_IN_S = 5


@cache
def ask_the_hub_once() -> None:
    """Put the hub's client offline if the hub does not answer: it then reads the cache, without retries."""
    from huggingface_hub import constants, get_session

    try:
        get_session().head(constants.ENDPOINT, timeout=ANSWERS_IN_S)
    except Exception:  # no answer of any kind
        constants.HF_HUB_OFFLINE = True


@cache
def hub_commit(kind: Kind, name: str, revision: str | None = None) -> str:
    """The commit that a hub id stands for.

    The hub is asked first, since files are read from there; where it does not answer, the local cache, from which they
    are read then. Where neither knows, it is the revision as given, or ``main``.
    """
    from huggingface_hub import HfApi, constants

    wanted = revision or constants.DEFAULT_REVISION
    if COMMIT.fullmatch(wanted):
        return wanted
    ask_the_hub_once()
    if not constants.HF_HUB_OFFLINE:
        try:
            api = HfApi()
            ask = api.model_info if kind == "models" else api.dataset_info
            return ask(name, revision=revision, timeout=ANSWERS_IN_S).sha or wanted
        except Exception:  # no such name, or no answer: loading will say so
            pass
    cached = Path(constants.HF_HUB_CACHE) / f"{kind}--{name.replace('/', '--')}" / "refs" / wanted
    return cached.read_text().strip() if cached.is_file() else wanted
