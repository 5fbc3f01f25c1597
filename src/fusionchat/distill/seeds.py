"""Trainings that differ only in their seeds: their names and their seeds. PURE."""

import hashlib

FIRST = 1


def nth(name: str, number: int) -> str:
    """The name of a model's training with the ``number``-th seed: ``sft``, ``sft#2``, ``mixtral@0.9#3``."""
    return name if number == FIRST else f"{name}#{number}"


def seed_of_round(seed: int, number: int) -> int:
    """A training's seed in a round: its own in the first, later 31 bits of SHA-256 of it and the round."""
    if number == 1:
        return seed
    return int.from_bytes(hashlib.sha256(f"{seed} round {number}".encode()).digest()[:4], "big") >> 1


def seed_of(seed: int, number: int) -> int:
    """The recipe's seed for the first training; for the others 31 bits of SHA-256 of it and the number.

    Not seed + 1: two runs with neighbouring seeds, made to see how much runs differ, would then share
    trainings.
    """
    if number == FIRST:
        return seed
    return int.from_bytes(hashlib.sha256(f"{seed}#{number}".encode()).digest()[:4], "big") >> 1
