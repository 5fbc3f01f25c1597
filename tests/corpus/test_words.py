"""Words and runs of words: no spelling detail changes them, and no process does."""

import subprocess
import sys

import numpy as np
import pytest

from fusionchat.corpus.words import RUN, length, shingles, text_hash, words


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("Yes.", "yes"),
        ("It is  so,\nindeed!", "it is so indeed"),
        ("\uff28\uff25\uff2c\uff2c\uff2f", "Hello"),  # full width
        ("don\u2019t \u201cstop\u201d", 'don\'t "stop"'),
        ("**Paris**", "Paris"),
        ("Stra\u00dfe", "STRASSE"),
        ("caf\u00e9", "cafe\u0301"),
        ("soft\u00adware", "software"),  # a soft hyphen
        ("\u5317\u4eac\u3002", "\u5317 \u4eac"),
    ],
)
def test_spelling_details_are_no_part_of_words(a, b):
    assert words(a) == words(b)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("3 + 4", "3 - 4"),
        ("3*4", "3/4"),
        ("x < 0", "x > 0"),
        ("3.5", "35"),
        ("\U0001f44d", "\U0001f44e"),
        ("?", "!"),
    ],
)
def test_what_changes_the_meaning_is_part_of_them(a, b):
    assert words(a) != words(b)


def test_scripts_without_spaces_have_a_word_a_character():
    assert words("GPT\u662f\u6a21\u578b") == ["gpt", "\u662f", "\u6a21", "\u578b"]
    assert length(words("GPT\u662f\u6a21\u578b")) == 2.5
    assert (
        len(words("\u0e2a\u0e27\u0e31\u0e2a\u0e14\u0e35")) == 6
        and length(words("\u0e2a\u0e27\u0e31\u0e2a\u0e14\u0e35")) == 1.5
    )
    assert words("\u0939\u093f\u0928\u094d\u0926\u0940 \uc548\ub155") == [
        "\u0939\u093f\u0928\u094d\u0926\u0940",
        "\uc548\ub155",
    ]


def test_runs_of_eight_words():
    text = [f"w{i}" for i in range(20)]
    runs = shingles(text)
    assert len(runs) == 20 - RUN + 1 and (np.diff(runs.astype(object)) > 0).all()
    assert set(shingles(text[3:15])) <= set(runs)
    assert not set(shingles(text[::-1])) & set(runs)  # the order of words counts
    assert len(shingles(text[:7])) == 0 and len(shingles(["a"] * 30)) == 1


def test_hashes_are_the_same_in_every_process():
    code = (
        "from fusionchat.corpus.words import *; print(text_hash(['a', 'b']), shingles(list('abcdefgh'))[0])"
    )
    made = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONHASHSEED": "7", "PYTHONPATH": ":".join(sys.path)},
    )
    assert made.stdout.split() == ["2952434739088078779", "2526848311040288076"]
    assert (text_hash(["a", "b"]), shingles(list("abcdefgh"))[0]) == (
        2952434739088078779,
        2526848311040288076,
    )
