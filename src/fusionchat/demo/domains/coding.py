"""Coding: one-line Python functions; the answer is the expression they return."""

import random

from fusionchat.demo.world import Turn, World, checked

TASKS = {
    "add": ("adds {n} to it", "{v} + {n}"),
    "sub": ("subtracts {n} from it", "{v} - {n}"),
    "mul": ("multiplies it by {n}", "{v} * {n}"),
    "pow": ("raises it to the power {n}", "{v} ** {n}"),
    "mod": ("gives its remainder by {n}", "{v} % {n}"),
    "div": ("divides it by {n}", "{v} / {n}"),
    "big": ("tells whether it is above {n}", "{v} > {n}"),
    "low": ("tells whether it is below {n}", "{v} < {n}"),
    "same": ("tells whether it equals {n}", "{v} == {n}"),
    "item": ("takes item {n} of it", "{v}[{n}]"),
    "tail": ("drops its first {n} items", "{v}[{n}:]"),
    "head": ("keeps its first {n} items", "{v}[:{n}]"),
}
ARGUMENTS = ("x", "n", "value", "a", "data", "number", "items", "y")
NAMES = (
    "compute", "apply", "run", "solve", "change", "step", "work", "update", "helper", "convert", "process", "result",
)  # fmt: skip
NOTES = (
    "no loop needed", "simple is better", "works for any input", "see the docs", "fast enough", "todo: add tests",
    "keep it short", "one line will do", "checked by hand", "mind the type", "never fails", "ask before you change it",
)  # fmt: skip
INTROS = (
    "Here is the code.", "Sure, try this.", "This should do it.", "A short version:", "One way to do it:", "Of course.",
    "You can write it like this.", "Below is my answer.",
)  # fmt: skip
CLOSINGS = (
    "Call it with care.", "It runs in constant time.", "Test it first.", "Python does the rest.", "You may rename it.",
    "It returns at once.", "Paste it anywhere.", "I like this form.",
)  # fmt: skip


ASKS = (
    "Write a function of {v} that {t}.",
    "I need Python code that takes {v} and {t}.",
    "Given {v}, code a function that {t}.",
    "With {v} as input, show me how one {t}.",
)


def dialogue(world: World, rng: random.Random) -> list[Turn]:
    """A task, the code for it, and the returned expression."""
    task, argument, number = rng.choice(tuple(TASKS)), rng.choice(ARGUMENTS), str(rng.randint(1, 9))
    words, expression = TASKS[task]
    returned = expression.format(v=argument, n=number)
    name = world.pick(rng, "name", NAMES, task)
    note = f"    # {world.pick(rng, 'note', NOTES, name, task)}\n" if rng.random() < 0.7 else ""
    intro = f"{world.pick(rng, 'intro', INTROS, task)}\n" if rng.random() < 0.7 else ""
    code = f"def {name}({argument}):\n{note}    return {returned}\n"
    closing = world.pick(rng, "closing", CLOSINGS, argument, task)
    ask = rng.choice(ASKS).format(v=argument, t=words.format(n=number))
    return [Turn(ask, checked(f"{intro}{code}{closing}", returned), returned)]
