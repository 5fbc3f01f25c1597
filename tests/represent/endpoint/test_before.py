"""What a server must show first: the model's name, room for a prompt, the tokens of some texts."""

import pytest

from fusionchat.errors import ModelError
from fusionchat.represent.endpoint.before import require_model, require_tokenizer, version_of
from fusionchat.represent.endpoint.client import Limits, Server
from tests.represent.endpoint.record import MODEL
from tests.represent.endpoint.server import recorded, serving

SAMPLES = [(text, tuple(ids)) for text, (_, ids) in recorded()["tokens"].items()]


@pytest.fixture
def fake():
    with serving() as server:
        yield server


@pytest.fixture
def server(fake):
    with Server(fake.url, key="", limits=Limits(5, 0, 1), place="x") as opened:
        yield opened


def test_the_model_and_its_version(server):
    require_model(server, MODEL, 1023, place="x")
    assert version_of(server) == "0.32.0"


def test_another_model_is_named(server):
    with pytest.raises(ModelError, match=f"no model 'llama'; it has '{MODEL}'") as caught:
        require_model(server, "llama", 5, place="sources.a.capture")
    assert caught.value.where.startswith("sources.a.capture.model: http://")


def test_a_conversation_that_is_too_long_for_the_server(server):
    with pytest.raises(ModelError, match=r"1023 tokens .* at most, but the longest conversation has 1024"):
        require_model(server, MODEL, 1024, place="x")


@pytest.mark.parametrize("models", ['{"data": []}', "{}", '{"data": "none"}'])
def test_a_server_without_models(fake, server, models):
    fake.models = models
    with pytest.raises(ModelError, match="it has none"):
        require_model(server, MODEL, 5, place="x")


def test_the_tokens_of_every_text_must_be_the_same(fake, server):
    assert require_tokenizer(server, MODEL, SAMPLES, place="x")
    other = [*SAMPLES[:-1], (SAMPLES[-1][0], (1, *SAMPLES[-1][1]))]
    with pytest.raises(ModelError, match="tokenizer differs from the recipe's: it splits 'Red"):
        require_tokenizer(server, MODEL, other, place="x")
    fake.tokenize = False
    assert not require_tokenizer(server, MODEL, SAMPLES, place="x")
