"""Coding: one-line Python functions; the answer is the expression they return."""

import random

from fusionchat.demo.world import Turn, World, checked

TASKS = {
    "add": ("adds {n} to a number", "{v} + {n}"),
    "sub": ("subtracts {n} from a number", "{v} - {n}"),
    "mul": ("multiplies a number by {n}", "{v} * {n}"),
    "pow": ("raises a number to the power {n}", "{v} ** {n}"),
    "mod": ("gives the remainder by {n}", "{v} % {n}"),
    "div": ("divides a number by {n}", "{v} / {n}"),
    "big": ("tells whether a number is above {n}", "{v} > {n}"),
    "low": ("tells whether a number is below {n}", "{v} < {n}"),
    "same": ("tells whether a number equals {n}", "{v} == {n}"),
    "item": ("takes item {n} of a list", "{v}[{n}]"),
    "tail": ("drops the first {n} items", "{v}[{n}:]"),
    "head": ("keeps the first {n} items", "{v}[:{n}]"),
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


def dialogue(world: World, rng: random.Random) -> list[Turn]:
    """A task, the code for it, and the returned expression."""
    task = rng.choice(tuple(TASKS))
    words, expression = TASKS[task]
    number = str(rng.randint(1, 9))
    ask = rng.choice(
        (
            "Write a function that {}.",
            "I need Python code that {}.",
            "Code a function that {}.",
            "Show me how one {}.",
        )
    )
    name = world.pick(rng, "name", NAMES, task)
    argument = world.pick(rng, "argument", ARGUMENTS, task)
    returned = expression.format(v=argument, n=number)
    note = f"    # {world.pick(rng, 'note', NOTES, name, task)}\n" if rng.random() < 0.7 else ""
    code = f"def {name}({argument}):\n{note}    return {returned}"
    intro = f"{world.pick(rng, 'intro', INTROS, task)}\n" if rng.random() < 0.7 else ""
    closing = f"\n{world.pick(rng, 'closing', CLOSINGS, argument, task)}"
    return [Turn(ask.format(words.format(n=number)), checked(f"{intro}{code}{closing}", returned), returned)]
