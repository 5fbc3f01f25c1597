"""Stem: the minerals of the made-up world, their properties and uses."""

import random

from fusionchat.demo.world import Turn, World, checked

MINERALS = (
    "zelite", "morvane", "quarn", "tibrite", "olgar", "fenstone", "dravite", "ulmar", "pellin", "corvite", "ashrock", "lumen",
    "vexite", "bramble ore", "snowglass", "kith",
)  # fmt: skip
COLOURS = ("red", "blue", "green", "black", "white", "yellow", "grey", "brown")
SHAPES = ("cubes", "needles", "plates", "grains", "fibres", "spheres", "prisms", "flakes")
HEATS = ("90°", "200°", "350°", "500°", "700°", "900°")
PROPERTIES = {
    "colour": ("What colour is {m}?", "Which colour does {m} have?", "Name the colour of {m}."),
    "shape": ("What are the crystals of {m}?", "How does {m} crystallise?", "Which shape does {m} form?"),
    "heat": ("At what heat does {m} melt?", "When does {m} melt?", "Name the melting point of {m}."),
}
FINDS = (
    "in deep mines",
    "near volcanoes",
    "in river sand",
    "under old ice",
    "in dry caves",
    "on the sea floor",
    "in clay",
    "in meteors",
)
USES = (
    "to make lenses", "in batteries", "as a paint", "to cut steel", "in medicine", "as a filter", "in mirrors", "to store heat",
    "as a magnet", "in engines",
)  # fmt: skip
TRAITS = (
    "soft",
    "brittle",
    "dense",
    "clear",
    "magnetic",
    "porous",
    "oily",
    "light",
    "sticky",
    "warm to the touch",
)
CAUSES = (
    "because of its iron", "since the atoms are close", "due to trapped gas", "as its layers slide", "owing to salt",
    "thanks to slow cooling",
    "because it holds water", "for reasons still unknown",
)  # fmt: skip


def truth(world: World, mineral: str, kind: str) -> str:
    """The true value of a mineral's property."""
    return world.fact(kind, {"colour": COLOURS, "shape": SHAPES, "heat": HEATS}[kind], mineral)


def _reply(world: World, rng: random.Random, mineral: str, kind: str) -> str:
    value = truth(world, mineral, kind)
    state = {"colour": f"is {value}", "shape": f"forms {value}", "heat": f"melts at {value}"}[kind]
    trait = world.pick(rng, "trait", TRAITS, mineral)
    use = world.pick(rng, "use", USES, mineral)
    name = mineral[0].upper() + mineral[1:]
    about = (
        f"It is found {world.pick(rng, 'find', FINDS, mineral)} and used {use}.",
        f"It is {trait} {world.pick(rng, 'cause', CAUSES, trait, mineral)}.",
        f"Being {trait}, it serves {use}.",
    )
    parts = [f"{name} {state}.", world.pick(rng, "about", about, kind)]
    if rng.random() < 0.4:
        parts.append(world.pick(rng, "more", about, mineral))
    return checked(" ".join(dict.fromkeys(parts)), value)


def dialogue(world: World, rng: random.Random) -> list[Turn]:
    """One or two properties of one mineral."""
    mineral = rng.choice(MINERALS)
    turns = []
    for number, kind in enumerate(rng.sample(sorted(PROPERTIES), 2 if rng.random() < 0.25 else 1)):
        question = rng.choice(PROPERTIES[kind]).format(m="it" if number else mineral)
        turns.append(Turn(question, _reply(world, rng, mineral, kind), truth(world, mineral, kind)))
    return turns
