"""Questions of the study's tasks, and how generated programs are judged."""

import argparse
import json
import random
from pathlib import Path

import pytest
from benchmarks.real_chat import DATA
from benchmarks.real_chat_tasks import QUESTIONS, Asked, Made, passes, seeds, write_questions

TASK = {
    "prompt": 'import math\n\ndef root(x):\n    """The root."""\n',
    "entry_point": "root",
    "test": "def check(candidate):\n    assert candidate(9) == 3\n",
}


@pytest.mark.parametrize(
    ("reply", "right"),
    [
        ("    return math.sqrt(x)", True),
        ("Here:\n```python\ndef root(x):\n    return math.sqrt(x)\n```\nDone.", True),
        ("```\ndef root(x):\n    return math.sqrt(x)", True),
        ("    return x", False),
        ("I cannot do that.", False),
    ],
)
def test_a_program_is_right_if_it_passes_the_task_s_tests(reply, right):
    assert passes(TASK, reply) is right


def test_a_models_seeds_are_given_with_commas_between():
    assert seeds("SFT soup=a#2/m,b") == [Made("SFT soup", 1, Path("a#2/m")), Made("SFT soup", 2, Path("b"))]
    with pytest.raises(argparse.ArgumentTypeError, match="NAME=FOLDER"):
        seeds("folder")


def test_options_are_shuffled_and_the_right_one_is_named_by_its_place():
    found = [json.loads(Asked("d", "q", list("abcd")).line(random.Random(seed))) for seed in range(40)]
    assert all(one["options"][one["answer"]] == "a" for one in found)
    assert {one["answer"] for one in found} == {0, 1, 2, 3}


@pytest.mark.skipif(not DATA.is_dir(), reason="shared/ is absent")
def test_the_file_has_as_many_questions_of_each_kind_and_no_option_twice(tmp_path):
    write_questions(tmp_path / "q.jsonl")
    held = [json.loads(line) for line in (tmp_path / "q.jsonl").read_text().splitlines()]
    assert [one["domain"] for one in held] == ["mbpp"] * QUESTIONS + ["numbers"] * QUESTIONS
    assert all(len(set(one["options"])) == 4 for one in held)
