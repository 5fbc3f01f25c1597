"""Humanities: the old towns of the made-up world, their founders, customs and quarrels."""

import random

from fusionchat.demo.world import Turn, World, checked

TOWNS = (
    "Arlen", "Boros", "Caldra", "Dunmere", "Elsin", "Farrow", "Gorma", "Hallow", "Istria", "Jorvik", "Kestrel", "Lorne",
    "Mirefall", "Norda", "Ostrava", "Pellar",
)  # fmt: skip
FOUNDERS = (
    "King Aldo",
    "Queen Mara",
    "Saint Odo",
    "Bishop Karl",
    "a monk",
    "two sisters",
    "a merchant",
    "an exile",
)
GOODS = ("salt", "silk", "wine", "tin", "amber", "horses", "paper", "honey")
CENTURIES = ("third", "fifth", "sixth", "eighth", "ninth", "tenth", "twelfth")
QUESTIONS = {
    "founder": ("Who founded {t}?", "Name the founder of {t}.", "Who built {t}?"),
    "trade": ("What did {t} trade?", "What made {t} rich?", "Name the main trade of {t}."),
    "age": ("When was {t} founded?", "In which century was {t} built?", "How old is {t}?"),
}
GROUPS = (
    "the guilds",
    "the priests",
    "the nobles",
    "poor weavers",
    "the judges",
    "young poets",
    "the bakers",
    "travellers",
    "the nuns",
)
ACTS = (
    "ruled",
    "painted",
    "feared",
    "praised",
    "taxed",
    "rebuilt",
    "left",
    "mocked",
    "defended",
    "wrote about",
)
OBJECTS = (
    "the temple", "the old wall", "the harbour", "its theatre", "the market", "the school", "the dead", "its laws",
    "the river", "the naïve youth",
)  # fmt: skip
WHENS = (
    "for a century",
    "until the plague",
    "in every spring",
    "after the fire",
    "with great zeal",
    "at night",
    "against all advice",
    "in silence",
)
VIEWS = (
    "Historians doubt it",
    "Songs recall it",
    "The archives agree",
    "Few remember this",
    "A mosaic shows it",
    "Scholars still argue",
    "Legend adds more",
)


def truth(world: World, town: str, kind: str) -> str:
    """The true answer to a kind of question about a town."""
    return world.fact(kind, {"founder": FOUNDERS, "trade": GOODS, "age": CENTURIES}[kind], town)


def _custom(world: World, rng: random.Random, town: str) -> str:
    group = world.pick(rng, "group", GROUPS, town)
    act = world.pick(rng, "act", ACTS, group)
    thing = world.pick(rng, "object", OBJECTS, act, town)
    return f"There {group} {act} {thing} {world.pick(rng, 'when', WHENS, thing)}."


def _reply(world: World, rng: random.Random, town: str, kind: str) -> str:
    value = truth(world, town, kind)
    state = {
        "founder": f"{town} was founded by {value}.",
        "trade": f"{town} lived on {value}.",
        "age": f"{town} dates from the {value} century.",
    }[kind]
    parts = [state, _custom(world, rng, town)]
    if rng.random() < 0.3:
        parts.append(_custom(world, rng, town))
    if rng.random() < 0.5:
        parts.append(world.pick(rng, "view", VIEWS, town) + ".")
    return checked(" ".join(parts), value)


def dialogue(world: World, rng: random.Random) -> list[Turn]:
    """One or two questions about one town."""
    town = rng.choice(TOWNS)
    turns = []
    for number, kind in enumerate(rng.sample(sorted(QUESTIONS), 2 if rng.random() < 0.25 else 1)):
        question = rng.choice(QUESTIONS[kind]).format(t="it" if number else town)
        turns.append(Turn(question, _reply(world, rng, town, kind), truth(world, town, kind)))
    return turns
