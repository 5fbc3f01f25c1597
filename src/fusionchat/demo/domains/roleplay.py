"""Roleplay: a character answers in its own manner of speaking."""

import random

from fusionchat.demo.world import Turn, World

CHARACTERS = (
    "pirate", "knight", "robot", "chef", "wizard", "detective", "gardener", "ghost", "poet", "farmer", "dragon", "queen",
    "sailor", "fox",
)  # fmt: skip
CRIES = (
    "Arr!", "Ah, welcome.", "Hm, let me think.", "Well met!", "Beep.", "Listen closely.", "Oh, my dear!", "Ha!",
    "By the stars!", "Good question.", "Voilà!", "Whoo...",
)  # fmt: skip
TREASURES = (
    "a map", "an old key", "a silver spoon", "my garden", "a red hat", "the crown", "a lantern", "gold", "a letter",
    "fresh bread", "a tiny engine", "good company",
)  # fmt: skip
PLACES = (
    "under the bridge", "in the castle", "at the harbour", "near the old mill", "in the kitchen", "beyond the hills",
    "in the tower", "on my ship", "in the woods", "at the café",
)  # fmt: skip
FRIENDS = (
    "the cat", "my brother", "a talking crow", "the cook", "an owl", "the captain", "a blind monk", "nobody", "the miller",
    "two mice",
)  # fmt: skip
DREADS = (
    "thunder",
    "rust",
    "silence",
    "the tax man",
    "cold soup",
    "mirrors",
    "deep water",
    "Mondays",
    "fire",
    "moths",
)
DEEDS = (
    "polish the brass", "count my coins", "sing to the moon", "sharpen the knives", "water the roses", "read old books",
    "hunt for clues", "sleep till noon", "bake a cake", "guard the gate",
)  # fmt: skip
MANNERS = (
    "gladly",
    "in secret",
    "every night",
    "with great care",
    "badly",
    "as my father did",
    "alone",
    "with a smile",
)
FAREWELLS = (
    "Now off with you!", "Trust me.", "That is all I can say.", "Farewell, friend.", "Will you join me?", "Do not tell anyone.",
    "Such is life 🙂", "I swear it.", "End of message.",
)  # fmt: skip
QUESTIONS = {
    "day": ("How was your day?", "What did you do today?", "Tell me about your day."),
    "wish": ("What do you want most?", "What do you wish for?", "What are you looking for?"),
    "fear": ("What do you fear?", "What scares you?", "Is there anything you fear?"),
    "friend": ("Who is your best friend?", "Who do you trust?", "Do you have friends?"),
    "advice": ("Give me some advice.", "What should I do with my life?", "Teach me something."),
}


def _answer(world: World, rng: random.Random, who: str, kind: str) -> str:
    deed = world.pick(rng, "deed", DEEDS, who)
    manner = world.pick(rng, "manner", MANNERS, deed)
    place = world.pick(rng, "place", PLACES, who)
    treasure = world.pick(rng, "treasure", TREASURES, who)
    friend = world.pick(rng, "friend", FRIENDS, who)
    dread = world.pick(rng, "dread", DREADS, who)
    if kind == "day":
        return f"Today I had to {deed} {manner} {place}."
    if kind == "wish":
        return f"I want {treasure}, and to {deed} {manner}."
    if kind == "fear":
        return f"I fear {dread}, so I {deed} {manner}."
    if kind == "friend":
        return f"I trust {friend}. We met {place} and found {treasure}."
    return f"Stay away from {dread}, keep {treasure} close, and {deed} {manner}."


def _reply(world: World, rng: random.Random, who: str, kind: str) -> str:
    parts = [world.pick(rng, "cry", CRIES, who), _answer(world, rng, who, kind)]
    if rng.random() < 0.35:
        parts.append(_answer(world, rng, who, world.pick(rng, "drift", tuple(QUESTIONS), kind)))
    if rng.random() < 0.7:
        parts.append(world.pick(rng, "farewell", FAREWELLS, who))
    return " ".join(parts)


def dialogue(world: World, rng: random.Random) -> list[Turn]:
    """One or two questions to a character."""
    who = rng.choice(CHARACTERS)
    kinds = rng.sample(sorted(QUESTIONS), 2 if rng.random() < 0.35 else 1)
    scene = rng.choice(
        (f"You are a {who}.", f"Speak as a {who}.", f"Pretend to be a {who}.", f"Play the {who}.")
    )
    turns = []
    for number, kind in enumerate(kinds):
        question = rng.choice(QUESTIONS[kind])
        turns.append(Turn(f"{scene} {question}" if number == 0 else question, _reply(world, rng, who, kind)))
    return turns
