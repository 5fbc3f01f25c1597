"""``metrics.jsonl``: a line for each step of a training, with its measurements."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import cast

from fusionchat.artifacts import Json, write_text

METRICS = "metrics.jsonl"
"""The file's name in the training's folder."""
HELD_OUT = "held_out_bits_per_byte"
DIGITS = 7
"""Digits of the written numbers: those of fp32."""
Line = dict[str, Json]


class MetricsFile:
    """The lines of a training, with at most one for a step.

    Args:
        path: The file; None for none.
        done: The last finished step; lines of later steps, which are repeated, are removed.
        writes: Whether this process writes; others only read the file.

    Attributes:
        lines: The existing lines, up to ``done``.
        reached: The last step that had a line.
    """

    def __init__(self, path: Path | None, done: int, *, writes: bool = True) -> None:
        held = [] if path is None else read_metrics(path)
        self.path, self.writes = path, writes
        self.reached = max((step_of(line) for line in held), default=-1)
        self.lines = [line for line in held if step_of(line) <= done]
        if writes and path is not None:
            write_text(path, "".join(map(_text, self.lines)))

    def write(self, line: Line) -> None:
        """Add a line."""
        if self.writes and self.path is not None:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(_text(line))


def step_of(line: Mapping[str, Json]) -> int:
    """The step of a line."""
    return cast(int, line["step"])


def read_metrics(path: Path) -> list[Line]:
    """The complete lines of a file, none if it does not exist; a killed process may leave half a line."""
    if not path.is_file():
        return []
    found: list[Line] = []
    for text in path.read_text(encoding="utf-8").splitlines():
        try:
            line = json.loads(text)
        except ValueError:
            break
        if not isinstance(line, dict) or not isinstance(line.get("step"), int):
            break
        found.append(line)
    return found


def _text(line: Line) -> str:
    return json.dumps({key: _short(value) for key, value in line.items()}, allow_nan=False) + "\n"


def _short(value: Json) -> Json:
    if isinstance(value, float):
        return float(f"{value:.{DIGITS}g}")
    return {key: _short(one) for key, one in value.items()} if isinstance(value, dict) else value
