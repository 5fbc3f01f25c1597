"""Devices in words: one of this machine (``cuda:1``), or those of other machines (``4x8x80GB``)."""

import re
from typing import NamedTuple

from fusionchat.errors import RecipeError

_DEVICE = re.compile(r"(auto|cpu|mps|cuda|xpu)(?::(\d+))?")
_MACHINES = re.compile(r"(?:(?:(\d+)x)?(\d+)x)?(\d+(?:\.\d+)?)\s*(GB|GiB)", re.IGNORECASE)
_UNITS = {"gb": 10**9, "gib": 2**30}


class Device(NamedTuple):
    """A device of this machine: its kind as torch names it, or ``auto``, and its number if one was given."""

    kind: str
    number: int | None


class Machines(NamedTuple):
    """Identical machines: their number, GPUs in each, bytes of memory of each GPU."""

    nodes: int
    gpus: int
    memory: int


def parse_device(text: str) -> Device | None:
    """``auto``, ``cpu``, ``mps``, ``cuda``, ``cuda:N``, ``xpu`` or ``xpu:N``; None for anything else."""
    found = _DEVICE.fullmatch(text)
    if found is None or (found[2] and found[1] not in ("cuda", "xpu")):
        return None
    return Device(found[1], int(found[2]) if found[2] else None)


def parse_machines(text: str, *, where: str) -> Machines:
    """``80GB``, ``8x80GB`` (GPUs x memory) or ``4x8x80GB`` (nodes x GPUs x memory).

    GB are 10^9 bytes, GiB 2^30.

    Raises:
        RecipeError: It is none of these, or a number is 0.
    """
    found = _MACHINES.fullmatch(text.strip())
    if found is not None:
        machines = Machines(
            int(found[1] or 1), int(found[2] or 1), int(float(found[3]) * _UNITS[found[4].lower()])
        )
        if all(machines):
            return machines
    raise RecipeError(
        f"This does not describe devices: {text!r}",
        where=where,
        do="use memory, GPUs x memory or nodes x GPUs x memory: 80GB, 8x80GB, 4x8x80GB",
    )
