"""Conversations asked of a server: in their order, longest first, and the first error ends all."""

import json

import numpy as np
import pytest

from fusionchat.errors import ModelError
from fusionchat.models.ref import ModelRef
from fusionchat.represent.asked import Asked
from fusionchat.represent.endpoint.prompts import Prompts
from tests.represent.endpoint.record import MODEL, VOCABULARY, K
from tests.represent.endpoint.server import part, replay

NAMES = ["talk-0", "talk-1", "talk-2", "talk-3"]


class Server:
    """Answers from the recording, one request after the other."""

    def __init__(self, change=lambda answer: answer):
        self.change, self.asked, self.stopped = change, [], False

    def post(self, path, body):
        self.asked.append(body)
        return self.change(json.loads(replay(body)[1]))

    def stop(self):
        self.stopped = True


def prompts(server, k=K):
    asked = Asked(
        ModelRef("a", MODEL, MODEL),
        vocabulary=VOCABULARY,
        k=k,
        dtype="float32",
        device="cpu",
        batch_tokens=64,
    )
    return Prompts(server, MODEL, asked, concurrency=1)


def test_the_longest_is_asked_for_first_and_all_come_in_their_order():
    server, done, whole = Server(), [], part()
    found = prompts(server)(whole, names=NAMES, advance=done.append)
    assert [len(body["prompt"][0]) for body in server.asked] == sorted(whole.lengths.tolist(), reverse=True)
    assert done == [55, 49, 48, 41] and not server.stopped
    assert found.tokens.labels.tolist() == whole.supervised.labels.tolist()
    assert np.isfinite(found.label_logprob).all() and found.topk.k == K
    assert {body["prompt_logprobs"] for body in server.asked} == {K}


def test_an_answer_that_cannot_be_used_names_the_conversation_and_stops_the_server():
    def cut(answer):
        answer["choices"][0]["prompt_logprobs"] = answer["choices"][0]["prompt_logprobs"][:3]
        return answer

    server, longest = Server(cut), NAMES[int(np.argmax(part().lengths))]
    with pytest.raises(ModelError, match="The server's response cannot be used") as caught:
        prompts(server)(part(), names=NAMES, advance=lambda _: None)
    assert caught.value.where == f"sources.a.capture: conversation {longest}"
    assert server.stopped
