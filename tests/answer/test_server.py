"""Answers of a server: what it is asked, what of its answers is taken, and how it is refused."""

import json

import pytest

from fusionchat.answer.question import Asked, Reply
from fusionchat.answer.server import Served, read, request, seed_of
from fusionchat.answer.settings import Sampling
from fusionchat.answer.weights import NO_ROOM
from fusionchat.corpus.conversation import Message
from fusionchat.corpus.render import Renderer
from fusionchat.errors import ModelError
from fusionchat.represent.endpoint.client import Limits, Server
from tests.chat.tiny import make_tokenizer
from tests.represent.endpoint.server import serving

MODELS = json.dumps({"data": [{"id": "m", "max_model_len": 64}]})


@pytest.fixture(scope="module")
def renderer():
    return Renderer(make_tokenizer())


def served(url, renderer, **sampling):
    server = Server(url, key="", limits=Limits(5.0, 0, 2), place="pivot.capture")
    return Served(server, "m", renderer, Sampling(**sampling), seed=3, concurrency=2, advance=lambda _: None)


def test_prompts_go_as_ids_and_come_back_in_order(renderer):
    bodies = []

    def answers(body):
        bodies.append(body)
        end = "length" if body["max_tokens"] < 9 else "stop"
        return 200, json.dumps({"choices": [{"text": f"t{len(body['prompt'][0])}", "finish_reason": end}]})

    prompts = [Asked(f"q{i}\n0", (Message("user", "ab" * i),)) for i in (30, 1, 5)]
    with serving(answers) as fake:
        fake.models = MODELS
        found = served(fake.url, renderer, max_new_tokens=9, top_p=0.5)(prompts)
    ids = [renderer.prompt_ids(one.messages) for one in prompts]
    assert found[0] == Reply(fault=NO_ROOM)
    assert found[1:] == [Reply(f"t{len(one)}") for one in ids[1:]]
    assert sorted(body["prompt"] for body in bodies) == sorted([[one] for one in ids[1:]])
    assert {body["seed"] for body in bodies} == {seed_of(3, one.name) for one in prompts[1:]}
    assert all(body["stop_token_ids"] == renderer.stop_ids and body["top_p"] == 0.5 for body in bodies)


def test_an_answer_that_says_nothing_is_refused_with_its_conversation(renderer):
    with serving(lambda _: (200, '{"choices": []}')) as fake:
        fake.models = MODELS
        with pytest.raises(ModelError, match="conversation q"):
            served(fake.url, renderer)([Asked("q\n0", (Message("user", "a"),))])


@pytest.mark.parametrize(
    ("answer", "reply"),
    [
        ({"choices": [{"text": "a", "finish_reason": "stop"}]}, Reply("a")),
        ({"choices": [{"text": "a", "finish_reason": "length"}]}, Reply("a", cut=True)),
        ({"choices": [{"text": "a", "finish_reason": "abort"}]}, None),
        ({"choices": [{"text": None, "finish_reason": "stop"}]}, None),
        ({"choices": {}}, None),
        ({}, None),
    ],
)
def test_what_of_an_answer_is_taken(answer, reply):
    assert read(answer) == reply


def test_nothing_is_left_to_the_model_s_folder_on_the_server():
    body = request("m", [1, 2], 5, Sampling(temperature=0.7), seed=9)
    assert body["temperature"] == 0.7 and body["top_k"] == -1 and body["repetition_penalty"] == 1.0
    assert 0 <= seed_of(0, "x") < 2**31 and seed_of(0, "x") != seed_of(0, "y")
