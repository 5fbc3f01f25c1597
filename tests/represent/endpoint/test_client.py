"""Requests: tried again where that can help, refused at once where not, and the key is in no message."""

import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from fusionchat.errors import MachineError, ModelError
from fusionchat.represent.endpoint import client
from fusionchat.represent.endpoint.before import COMPLETIONS
from fusionchat.represent.endpoint.client import Limits, Server, Stopped, pause, retry_after
from fusionchat.represent.endpoint.prompt import request
from tests.represent.endpoint.record import MODEL
from tests.represent.endpoint.server import CUT, part, recorded, serving

KEY = "sk-very-secret-4711"
BODY = request(MODEL, part()[0], 10)


@pytest.fixture
def fake(monkeypatch):
    monkeypatch.setattr(client, "FIRST_S", 0.001)
    with serving() as server:
        yield server


def asked(fake, *, retries=3, timeout=0.5, key=KEY):
    limits = Limits(timeout, retries, 2)
    with Server(f"{fake.url}/v1", key=key, limits=limits, place="sources.a.capture") as server:
        return server.post(COMPLETIONS, BODY)


@pytest.mark.parametrize("fault", [429, 500, 503, 408, CUT, "slow", lambda text: text[:-9]])
def test_what_may_pass_is_asked_again(fake, fault):
    fake.faults.extend([fault, fault])
    assert asked(fake)["choices"][0]["prompt_token_ids"] == BODY["prompt"][0]
    assert fake.seen[COMPLETIONS] == 3 and fake.keys == {f"Bearer {KEY}"}


def deep(text):
    return "[" * 100_000


@pytest.mark.parametrize("fault", [deep, lambda text: "[1]", lambda text: "<html>"])
def test_an_answer_of_another_kind_is_asked_for_again(fake, fault):
    fake.faults.append(fault)
    assert asked(fake)["choices"][0]["prompt_token_ids"] == BODY["prompt"][0]


def test_what_is_no_json_is_said(fake):
    fake.faults.append(lambda text: "<html>")
    with pytest.raises(MachineError, match=r"in 1 try: it is not a JSON object \(Expecting value"):
        asked(fake, retries=0)


def test_an_answer_that_cannot_be_unpacked_is_asked_for_again(fake):
    fake.faults.append("packed")
    assert asked(fake)["choices"][0]["prompt_token_ids"] == BODY["prompt"][0]
    assert fake.seen[COMPLETIONS] == 2


@pytest.mark.parametrize("fault", [500, CUT, "slow"])
def test_what_does_not_pass_is_an_error_after_the_last_try(fake, fault):
    fake.faults.extend([fault] * 9)
    with pytest.raises(MachineError, match="No usable response from the server in 3 tries") as caught:
        asked(fake, retries=2)
    assert fake.seen[COMPLETIONS] == 3 and KEY not in str(caught.value)
    assert caught.value.where == f"sources.a.capture: {fake.url}{COMPLETIONS}"


@pytest.mark.parametrize("fault", [400, 401, 404, 422])
def test_a_refusal_is_an_error_at_once_with_the_servers_words(fake, fault):
    fake.faults.append(fault)
    with pytest.raises(ModelError, match=f"fault {fault}, you sent Bearer \\(key\\)") as caught:
        asked(fake)
    assert fake.seen[COMPLETIONS] == 1 and KEY not in str(caught.value)


def test_the_words_of_a_real_refusal(fake):
    fake.answers = lambda _: recorded()["refused"][1]
    with pytest.raises(ModelError, match="prompt logprobs of 99, which is greater than max allowed: 20"):
        asked(fake)


def test_retry_after_is_followed(fake):
    fake.faults.append(429)
    fake.headers = {"Retry-After": "0.3"}
    started = time.monotonic()
    asked(fake)
    assert time.monotonic() - started >= 0.3


def test_retry_after_as_seconds_or_date():
    assert (retry_after("7"), retry_after("-3"), retry_after("soon"), retry_after(None)) == (
        7.0,
        0.0,
        None,
        None,
    )
    soon = format_datetime(datetime.now(UTC) + timedelta(seconds=30), usegmt=True)
    assert 27 < retry_after(soon) <= 30
    assert retry_after("1e9") == client.MOST_ASKED_S
    assert retry_after("nan") is None


def test_pauses_grow_and_differ():
    found = [[pause(attempt) for _ in range(50)] for attempt in (0, 3, 30)]
    assert all(0.25 <= s <= 0.5 for s in found[0]) and all(2 <= s <= 4 for s in found[1])
    assert all(30 <= s <= 60 for s in found[2]) and len(set(found[1])) > 40


def test_a_server_that_is_not_there():
    with pytest.raises(MachineError, match=r"in 1 try: Connect"):
        Server("http://127.0.0.1:1", key="", limits=Limits(1, 0, 1), place="x").get("/v1/models")


def test_what_waits_for_another_try_gives_up_when_it_is_stopped(fake):
    fake.faults.append(429)
    fake.headers = {"Retry-After": "60"}
    with Server(fake.url, key="", limits=Limits(1, 3, 1), place="x") as server:
        server.stop()
        with pytest.raises(Stopped):
            server.post(COMPLETIONS, BODY)


def test_an_optional_path_may_be_missing(fake):
    with Server(fake.url, key="", limits=Limits(1, 0, 1), place="x") as server:
        assert server.get("/nothing", optional=True) is None
        with pytest.raises(ModelError, match="404"):
            server.get("/nothing")
