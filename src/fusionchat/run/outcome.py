"""Errors as JSON, which a worker or a rank leaves for the process that started it."""

from collections.abc import Mapping
from pathlib import Path

from fusionchat.errors import DamagedError, FusionChatError


def told(error: FusionChatError) -> dict[str, str | int | None]:
    """An error as JSON."""
    held: dict[str, str | int | None] = {
        "kind": type(error).__name__,
        "what": error.what,
        "where": error.where,
        "do": error.do,
        "exit_code": error.exit_code,
    }
    if isinstance(error, DamagedError):
        held |= {"path": str(error.path), "folder": str(error.folder)}
    return held


def raised(held: Mapping[str, object]) -> FusionChatError:
    """The error that a worker left."""
    if held["kind"] == "DamagedError":
        return DamagedError(str(held["what"]), path=Path(str(held["path"])), folder=Path(str(held["folder"])))
    where, do = (None if held[key] is None else str(held[key]) for key in ("where", "do"))
    error = FusionChatError(str(held["what"]), where=where, do=do)
    error.exit_code = int(str(held["exit_code"]))
    return error
