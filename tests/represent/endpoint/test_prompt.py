"""A request has token ids, an answer is read or refused."""

import json

import numpy as np
import pytest

from fusionchat.represent.endpoint.prompt import read, request
from tests.represent.endpoint.record import MODEL
from tests.represent.endpoint.server import part, recorded

ONE = part()[0]


def answer():
    return json.loads(recorded()["answers"][0])


def test_the_request_has_the_tokens():
    assert request("name", ONE, 7) == {
        "model": "name",
        "prompt": [ONE.input_ids.tolist()],
        "max_tokens": 1,
        "temperature": 0.0,
        "prompt_logprobs": 7,
        "return_token_ids": True,
    }


def test_the_entries_are_those_of_the_supervised_rows():
    entries, fault = read(answer(), MODEL, ONE)
    assert fault == "" and len(entries.counts) == len(ONE.rows) and set(entries.counts) <= {10, 11}
    first = answer()["choices"][0]["prompt_logprobs"][ONE.rows[0]]
    assert entries.ids[: entries.counts[0]].tolist() == [int(i) for i in first]
    assert entries.logprobs[0] == next(iter(first.values()))["logprob"]


def test_minus_9999_is_no_mass_and_plain_numbers_are_read():
    held = answer()
    place = held["choices"][0]["prompt_logprobs"][ONE.rows[0]]
    name = list(place)[1]
    place[name] = -9999.0
    entries = read(held, MODEL, ONE).entries
    assert entries.logprobs[1] == -np.inf


def spoilt(change):
    held = answer()
    change(held, held["choices"][0])
    return read(held, MODEL, ONE).fault


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (lambda held, _: held.pop("choices"), "exactly one choice"),
        (lambda held, _: held["choices"].append({}), "exactly one choice"),
        (lambda held, _: held.update(model="other"), "another model, 'other'"),
        (lambda _, one: one.pop("prompt_logprobs"), "no prompt_logprobs"),
        (lambda _, one: one.update(prompt_logprobs=None), "no prompt_logprobs"),
        (lambda _, one: one["prompt_logprobs"].pop(), "not those that were sent"),
        (lambda _, one: one["prompt_token_ids"].__setitem__(3, 9), "not those that were sent"),
        (lambda _, one: one["prompt_logprobs"].__setitem__(int(ONE.rows[0]), None), "cannot be read"),
        (lambda _, one: one["prompt_logprobs"][ONE.rows[0]].update(x={"logprob": 1}), "cannot be read"),
        (lambda _, one: one["prompt_logprobs"][ONE.rows[0]].update({"5": {}}), "cannot be read"),
        (lambda _, one: one["prompt_logprobs"][ONE.rows[0]].update({"-5": -1.0}), "-5 is not a token"),
        (lambda _, one: one["prompt_logprobs"][ONE.rows[0]].update({str(10**30): -1.0}), "is not a token"),
        (lambda _, one: one["prompt_logprobs"][ONE.rows[0]].update({"5": -(10**400)}), "cannot be read"),
    ],
)
def test_answers_that_are_of_something_else(change, fault):
    assert fault in spoilt(change)


def test_without_token_ids_the_labels_show_that_it_is_another_prompt():
    def change(_, one):
        one.pop("prompt_token_ids")
        places = one["prompt_logprobs"]
        places[1:] = [places[-1], *places[1:-1]]

    assert "not those that were sent" in spoilt(change)
    assert spoilt(lambda _, one: one.pop("prompt_token_ids")) == ""
