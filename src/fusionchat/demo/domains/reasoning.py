"""Reasoning: who comes first in an order described in words."""

import random
from itertools import pairwise

from fusionchat.demo.world import Turn, World, checked

NAMES = (
    "Ana",
    "Ben",
    "Carl",
    "Dora",
    "Emil",
    "Fay",
    "Gus",
    "Hana",
    "Ivo",
    "Jule",
    "Kai",
    "Lea",
    "Max",
    "Nora",
    "Otto",
    "Pia",
)
RELATIONS = {
    "taller": "tallest", "older": "oldest", "faster": "fastest", "richer": "richest", "stronger": "strongest",
    "louder": "loudest", "kinder": "kindest", "wiser": "wisest",
}  # fmt: skip
STARTS = (
    "Let us put them in order.", "Compare them one by one.", "Start from the first clue.", "This is a simple chain.",
    "Think step by step.", "Look at each pair.", "Draw a line and place them.", "Read the clues again.",
)  # fmt: skip
SIGNS = (
    "by a wide margin", "without doubt", "by a little", "as the clue says", "clearly", "for sure", "it seems", "by far",
)  # fmt: skip
LINKS = ("So", "Therefore", "Hence", "It follows that", "This means", "Thus", "As a result", "In the end")
JUDGEMENTS = (
    "nobody is left above", "the others come after", "the order is settled", "no clue says otherwise", "the chain ends there",
    "the rest is easy", "we can stop here", "both clues agree",
)  # fmt: skip


def dialogue(world: World, rng: random.Random) -> list[Turn]:
    """Two or three people and one order; the answer is the first of them."""
    people = rng.sample(NAMES, rng.choice((2, 2, 3)))
    relation = rng.choice(tuple(RELATIONS))
    clues = [f"{a} is {relation} than {b}." for a, b in pairwise(people)]
    rng.shuffle(clues)
    first = people[0]
    question = rng.choice(
        (f"Who is the {RELATIONS[relation]}?", f"Which one is {RELATIONS[relation]}?", f"Who is {relation}?")
    )
    sign = world.pick(rng, "sign", SIGNS, relation)
    parts = [
        world.pick(rng, "start", STARTS, relation),
        f"{first} is {relation} than {people[1]}, {sign}.",
        f"{world.pick(rng, 'link', LINKS, sign)} {world.pick(rng, 'judgement', JUDGEMENTS, relation, sign)}.",
    ]
    if rng.random() < 0.3:
        parts.pop(0)
    return [Turn(f"{' '.join(clues)} {question}", checked(" ".join(parts), first), first)]
