"""Math: sums and differences of small numbers, told as stories."""

import random

from fusionchat.demo.world import Turn, World, checked

OWNERS = ("Tom", "Mia", "the baker", "my uncle", "a child", "the teacher", "Sara", "the farmer")
ITEMS = ("apples", "coins", "books", "eggs", "stamps", "shells", "nails", "pears", "cards", "keys")
GAINS = ("finds {n} more", "gets {n} more", "buys {n} more", "is given {n} more")
LOSSES = ("loses {n}", "gives away {n}", "sells {n}", "drops {n}")
STARTS = (
    "We count the {i}.", "First look at the {i}.", "Write the {i} down as numbers.", "Think of the {i} on a table.",
    "Use your fingers for the {i}.", "Picture a box of {i}.", "Keep the {i} in mind.", "Only the {i} matter here.",
)  # fmt: skip
MAKES = ("makes", "is", "gives", "equals", "comes to", "leaves us with", "adds up to", "results in")
CHECKS = (
    "It is easy to check", "Count again to be sure", "That is the whole trick", "No more is needed", "The story hides nothing",
    "A quick sketch shows it", "Anyone can verify that", "The rest is just words",
)  # fmt: skip
PRAISE = (
    "so the {0} is right", "and the {0} agrees", "as the {0} shows", "the {0} tells us", "so close the {0}", "and fill the {0}",
)  # fmt: skip
PRAISES = tuple(form.format(thing) for form in PRAISE for thing in ("box", "pocket", "basket", "shelf"))


def _numbers(rng: random.Random) -> tuple[int, int, bool]:
    a = rng.randint(1, 6)
    return (a, rng.randint(1, 6), True) if rng.random() < 0.6 else (a, rng.randint(0, a), False)


def _reply(world: World, rng: random.Random, *, item: str, a: int, b: int, plus: bool) -> str:
    makes = world.pick(rng, "makes", MAKES, item)
    result = a + b if plus else a - b
    parts = [
        world.pick(rng, "start", STARTS, item).format(i=item),
        f"{a} {'plus' if plus else 'minus'} {b} {makes} {result}.",
        f"{world.pick(rng, 'check', CHECKS, makes)}, {world.pick(rng, 'praise', PRAISES, item, makes)}.",
    ]
    if rng.random() < 0.3:
        parts.pop(0)
    return checked(" ".join(parts), str(result))


def dialogue(world: World, rng: random.Random) -> list[Turn]:
    """One sum in a story, sometimes followed by a plain one."""
    owner, item = rng.choice(OWNERS), rng.choice(ITEMS)
    a, b, plus = _numbers(rng)
    change = rng.choice(GAINS if plus else LOSSES).format(n=b)
    ask = rng.choice((f"How many {item} are there now?", f"How many {item} is that?", f"Count the {item}."))
    subject = owner[0].upper() + owner[1:]
    turns = [
        Turn(
            f"{subject} has {a} {item} and {change}. {ask}",
            _reply(world, rng, item=item, a=a, b=b, plus=plus),
            str(a + b if plus else a - b),
        )
    ]
    if rng.random() < 0.25:
        a, b, plus = _numbers(rng)
        ask = rng.choice(("And what is {} {} {}?", "Now {} {} {}.", "What about {} {} {}?"))
        turns.append(
            Turn(
                ask.format(a, "plus" if plus else "minus", b),
                _reply(world, rng, item=item, a=a, b=b, plus=plus),
                str(a + b if plus else a - b),
            )
        )
    return turns
