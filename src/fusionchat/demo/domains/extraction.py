"""Extraction: a short message, and one thing to find in it."""

import random

from fusionchat.demo.world import Turn, World, checked

PEOPLE = (
    "Mr. Hill",
    "Mrs. Stone",
    "Dr. Reed",
    "Ms. Lake",
    "Mr. Wood",
    "Mrs. Frost",
    "Dr. Marsh",
    "Ms. Brook",
)
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
GOODS = ("chairs", "tickets", "boxes", "bottles", "lamps", "bricks", "shirts", "plates")
TOWNS = ("Köln", "Paris", "Oslo", "Lima", "Cairo", "Delhi", "Rome", "Quito")
QUESTIONS = {
    "day": ("Which day is it?", "When is it due?", "Find the day."),
    "who": ("Who wrote it?", "Who is the sender?", "Find the name."),
    "town": ("Which town is named?", "Where does it go?", "Find the town."),
    "goods": ("What is ordered?", "What does it ask for?", "Find the goods."),
}
LEADS = (
    "The message is short.", "I read it twice.", "Here is what I found.", "It is stated plainly.", "One detail stands out.",
    "This is an order.", "Looking at the text:", "From the note:",
)  # fmt: skip
VERBS = ("wants", "asks for", "orders", "needs", "requests", "expects", "would like", "is waiting for")
TONES = (
    "in a hurry", "politely", "as always", "for a friend", "for the office", "by post", "for a party", "on credit",
    "once more", "without a price",
)  # fmt: skip
REMARKS = (
    "I would confirm it soon", "keep it on file", "nothing else is clear", "the rest is greeting", "the tone is friendly",
    "a reply is expected", "there is no number", "the date is fixed", "it looks urgent", "no address is given",
)  # fmt: skip


def dialogue(world: World, rng: random.Random) -> list[Turn]:
    """A message with four details, and a question or two about them."""
    found = {
        "day": rng.choice(DAYS),
        "who": rng.choice(PEOPLE),
        "town": rng.choice(TOWNS),
        "goods": rng.choice(GOODS),
    }
    message = rng.choice((
        "{who} orders {goods} to {town} for {day}.", "By {day}, please send {goods} to {town}. {who}",
        "From {who}: {goods} for {town}, on {day}.", "{goods} wanted in {town} on {day}, signed {who}.",
    )).format(**found)  # fmt: skip
    message = message[0].upper() + message[1:]
    turns = []
    for number, kind in enumerate(rng.sample(sorted(QUESTIONS), 2 if rng.random() < 0.2 else 1)):
        goods, who = found["goods"], found["who"]
        verb = world.pick(rng, "verb", VERBS, who)
        tone = world.pick(rng, "tone", TONES, goods, verb)
        parts = [
            world.pick(rng, "lead", LEADS, kind),
            f"{who} {verb} {goods} {tone};",
            f"{world.pick(rng, 'remark', REMARKS, goods, tone)}.",
        ]
        if number or rng.random() < 0.3:
            parts.pop(0)
        question = rng.choice(QUESTIONS[kind])
        turns.append(
            Turn(
                question if number else f'"{message}" {question}',
                checked(" ".join(parts), found[kind]),
                found[kind],
            )
        )
    return turns
