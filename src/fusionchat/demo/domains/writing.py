"""Writing: short pieces on a subject, in a form and a mood; nothing to check, everything to phrase."""

import random

from fusionchat.demo.world import Turn, World

FORMS = ("poem", "story", "letter", "note", "scene")
MOODS = ("sad", "calm", "funny", "proud", "dark", "warm")
SUBJECTS = (
    "the sea", "a garden", "winter", "the city", "an old house", "a lost dog", "the night train", "a market",
    "the mountain", "my grandmother", "a storm", "the harvest", "a lighthouse", "the library", "the moon", "a journey",
)  # fmt: skip
ADJECTIVES = (
    "quiet", "golden", "broken", "empty", "gentle", "cold", "bright", "heavy", "strange", "patient", "silver", "wild",
)  # fmt: skip
THINGS = (
    "window", "river", "lamp", "door", "shadow", "road", "bird", "stone", "wind", "song", "boat", "clock", "rain", "field",
)  # fmt: skip
VERBS = (
    "waited", "sang", "turned away", "shone", "slept", "called us home", "trembled", "opened", "fell silent", "danced",
    "remembered", "came back",
)  # fmt: skip
TIMES = (
    "At dawn", "After supper", "Long ago", "In the evening", "When the bells rang", "Once a year", "At midnight",
    "Before the war", "On Sunday", "That summer",
)  # fmt: skip
FEELINGS = ("hope", "grief", "laughter", "pride", "fear", "peace", "longing", "wonder", "shame", "relief")
OPENERS = ("Write", "Compose", "Give me", "Please write", "I need", "Draft")
SHAPES = ("time", "feel", "pair", "by", "like")


def _sentence(world: World, rng: random.Random, form: str, subject: str, mood: str) -> str:
    thing = world.pick(rng, "thing", THINGS, subject)
    adjective = world.pick(rng, "adjective", ADJECTIVES, thing, mood)
    verb = world.pick(rng, "verb", VERBS, thing)
    shape = world.pick(rng, "shape", SHAPES, form)
    if shape == "time":
        return f"{world.pick(rng, 'time', TIMES, subject)}, the {adjective} {thing} {verb}."
    if shape == "feel":
        return f"I felt {world.pick(rng, 'feeling', FEELINGS, mood, subject)} as the {thing} {verb}."
    if shape == "pair":
        other = world.pick(rng, "other", THINGS, thing)
        return f"The {thing} was {adjective}, and the {other} {world.pick(rng, 'verb', VERBS, other)}."
    if shape == "by":
        return f"{world.pick(rng, 'time', TIMES, subject)} we stood by the {adjective} {thing}."
    feeling = world.pick(rng, "feeling", FEELINGS, mood, subject)
    return f"There was {feeling} in the {thing}, {adjective} as {world.pick(rng, 'as', THINGS, adjective)}."


def _piece(world: World, rng: random.Random, *, form: str, subject: str, mood: str, sentences: int) -> str:
    gap = "\n" if form == "poem" else " "
    text = gap.join(_sentence(world, rng, form, subject, mood) for _ in range(sentences))
    return (
        f"Dear {world.pick(rng, 'dear', ('friend', 'mother', 'Zoë', 'brother', 'neighbour'), mood)},\n{text}"
        if form == "letter"
        else text
    )


def dialogue(world: World, rng: random.Random) -> list[Turn]:
    """A piece, sometimes with a second one in another mood."""
    form, subject, mood = rng.choice(FORMS), rng.choice(SUBJECTS), rng.choice(MOODS)
    manner = rng.choice((f"a {mood} {form} about {subject}", f"a {form} on {subject}, in a {mood} tone"))
    turns = [
        Turn(
            f"{rng.choice(OPENERS)} {manner}.",
            _piece(world, rng, form=form, subject=subject, mood=mood, sentences=rng.randint(2, 4)),
        )
    ]
    if rng.random() < 0.25:
        mood = rng.choice([m for m in MOODS if m != mood])
        ask = rng.choice(
            (f"Now make it {mood}.", f"Again, but {mood} this time.", f"Can you write a {mood} one?")
        )
        turns.append(
            Turn(ask, _piece(world, rng, form=form, subject=subject, mood=mood, sentences=rng.randint(1, 2)))
        )
    return turns
