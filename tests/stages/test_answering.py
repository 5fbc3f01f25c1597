"""A model of a recipe answers: with its weights here, or on its server."""

import json

from fusionchat.answer.question import Asked
from fusionchat.answer.server import Served
from fusionchat.answer.settings import Sampling
from fusionchat.answer.weights import Weights
from fusionchat.corpus.conversation import Message
from fusionchat.models.ref import ModelRef
from fusionchat.represent.capture.endpoint import Endpoint
from fusionchat.runtime import RuntimeSettings
from fusionchat.stages.answering import Draws, answering
from tests.chat.tiny import make_folder
from tests.represent.endpoint.server import serving

DRAWS = Draws(sampling=Sampling(max_new_tokens=4), seed=0, dtype="float32")
ASKED = [Asked("a\n0", (Message("user", "hello"),))]


def test_weights_or_a_server_whichever_captures_the_model(tmp_path):
    ref = ModelRef("pivot", str(make_folder(tmp_path)), str(tmp_path))
    done = []
    with answering(ref, DRAWS, RuntimeSettings(device="cpu"), advance=done.append) as ask:
        assert isinstance(ask, Weights) and ask(ASKED)[0].fault == ""
    assert sum(done) == 1
    with serving(lambda _: (200, '{"choices": [{"text": "x", "finish_reason": "stop"}]}')) as fake:
        fake.models = json.dumps({"data": [{"id": "m"}]})
        capturer = Endpoint(url=fake.url, model="m")
        with answering(ref, DRAWS, RuntimeSettings(), capturer=capturer, advance=done.append) as ask:
            assert isinstance(ask, Served) and ask(ASKED)[0].text == "x"
