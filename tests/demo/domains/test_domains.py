"""Every domain: replies vary, answers can be checked, and what the prompt or the world decides is right."""

import random
import re

import pytest

from fusionchat.demo.corpus import answer_pattern
from fusionchat.demo.domains import DOMAINS, coding, extraction, humanities, stem
from fusionchat.demo.world import World

FREE = {"writing", "roleplay"}


@pytest.fixture(scope="module")
def world() -> World:
    return World(0)


def dialogues(world, domain, count=300):
    rng = random.Random(f"test/{domain}")
    return [DOMAINS[domain](world, rng) for _ in range(count)]


@pytest.mark.parametrize("domain", DOMAINS)
def test_every_checkable_turn_ends_with_its_answer(world, domain):
    for turns in dialogues(world, domain):
        for turn in turns:
            found = re.search(answer_pattern, turn.assistant)
            if domain in FREE:
                assert turn.answer is None and found is None
            else:
                assert found is not None and found.group(1) == turn.answer


@pytest.mark.parametrize("domain", DOMAINS)
def test_text_is_clean_and_varied(world, domain):
    made = dialogues(world, domain)
    for turns in made:
        for text in (text for turn in turns for text in (turn.user, turn.assistant)):
            assert text == text.strip() and "{" not in text and "  " not in text.replace("\n    ", "\n")
    assert len({turns[-1].assistant for turns in made}) > 0.8 * len(made)


@pytest.mark.parametrize("domain", sorted(set(DOMAINS) - {"reasoning", "coding"}))
def test_some_dialogues_have_two_turns(world, domain):
    lengths = {len(turns) for turns in dialogues(world, domain)}
    assert lengths == {1, 2}


def test_math_is_right(world):
    for turns in dialogues(world, "math"):
        for turn in turns:
            a, sign, b = re.search(r"(\d+) (plus|minus) (\d+)", turn.assistant).groups()
            assert int(turn.answer) == (int(a) + int(b) if sign == "plus" else int(a) - int(b)) >= 0


def test_reasoning_answer_beats_all_others(world):
    for [turn] in dialogues(world, "reasoning"):
        pairs = re.findall(r"(\w+) is \w+ than (\w+)\.", turn.user)
        assert {a for a, _ in pairs} - {b for _, b in pairs} == {turn.answer}


def test_code_runs_and_returns_the_answer(world):
    for [turn] in dialogues(world, "coding"):
        code = re.search(r"def .*\n(?:    .*\n)+", turn.assistant).group(0)
        space: dict[str, object] = {}
        exec(compile(code, "reply", "exec"), space)
        argument = re.search(r"\((\w+)\)", code).group(1)
        assert argument in turn.user and argument in turn.answer
        assert f"return {turn.answer}\n" in code
        value = list(range(1, 20)) if "[" in turn.answer else 5
        [function] = [f for name, f in space.items() if name != "__builtins__"]
        assert function(value) == eval(turn.answer, {argument: value})
    assert {task for task in coding.TASKS if "[" in coding.TASKS[task][1]} == {"item", "tail", "head"}


def test_extraction_answers_stand_in_the_message(world):
    for turns in dialogues(world, "extraction"):
        assert all(turn.answer.lower() in turns[0].user.lower() for turn in turns)
    assert set(extraction.QUESTIONS) == {"day", "who", "town", "goods"}


@pytest.mark.parametrize("room", [stem, humanities])
def test_facts_are_the_same_whenever_asked(room):
    things = room.MINERALS if room is stem else room.TOWNS
    kinds = room.PROPERTIES if room is stem else room.QUESTIONS
    asked = [(thing, kind) for thing in things for kind in kinds]
    world = World(3)
    table = [room.truth(world, *pair) for pair in asked]
    again = World(3)
    assert [room.truth(again, *pair) for pair in reversed(asked)] == table[::-1]
    assert [room.truth(World(4), *pair) for pair in asked] != table
