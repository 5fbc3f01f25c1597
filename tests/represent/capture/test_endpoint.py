"""The endpoint backend over the answers of a real `vllm serve`: the values of transformers, faults put in, and errors."""

import json
import threading

import numpy as np
import pytest

from fusionchat.errors import MachineError, ModelError, RecipeError
from fusionchat.models.ref import ModelRef
from fusionchat.represent import capture
from fusionchat.represent.capture.base import Asked, Sample
from fusionchat.represent.capture.endpoint import Endpoint
from fusionchat.represent.endpoint import client
from fusionchat.represent.endpoint.before import COMPLETIONS
from fusionchat.represent.plain import Plain
from fusionchat.represent.probe import compare
from tests.represent.endpoint.record import MODEL, VOCABULARY, K
from tests.represent.endpoint.server import CUT, part, recorded, replay, serving

KEY = "sk-very-secret-4711"
NAMES = ["talk-0", "talk-1", "talk-2", "talk-3"]


@pytest.fixture
def fake(monkeypatch):
    monkeypatch.setattr(client, "FIRST_S", 0.001)
    monkeypatch.setenv("SOME_KEY", KEY)
    with serving() as server:
        yield server


def asked(**changes):
    samples = tuple(Sample(text, tuple(ids)) for text, (_, ids) in recorded()["tokens"].items())
    held = {"vocabulary": VOCABULARY, "k": K, "longest": 60, "samples": samples} | changes
    return Asked(ModelRef("a", MODEL, MODEL), dtype="float32", device="cpu", batch_tokens=64, **held)


def captured(fake, *, settings=None, done=None, **changes):
    backend = Endpoint(
        **({"url": fake.url, "key_env": "SOME_KEY", "timeout": 5, "retries": 3} | (settings or {}))
    )
    with backend.open(asked(**changes)) as opened:
        return opened(part(), names=NAMES, advance=(done if done is not None else []).append)


def test_it_gives_what_transformers_gives(fake):
    """fp32 on both sides: within 2e-5 nats on average, 2e-4 at most; the kept are rounded to float16."""
    done = []
    scored = captured(fake, done=done)
    held = recorded()["transformers"]
    label, kept = compare(
        Plain(*(np.array(held[name]) for name in ("label_logprob", "ids", "logprobs"))), scored
    )
    assert label.mean < 2e-5 and label.worst < 2e-4
    assert kept.mean < 2e-3 and kept.worst < 8e-3
    assert (
        sorted(done) == sorted(part().lengths.tolist())
        and scored.tokens is not None
        and fake.keys == {f"Bearer {KEY}"}
    )
    mass = np.exp(scored.topk.logprobs.astype(float)).sum(1) + np.exp(scored.topk.tail.astype(float))
    np.testing.assert_allclose(mass, 1, atol=2e-3)


def test_rows_are_in_the_order_of_the_conversations_whatever_comes_first(fake):
    one_by_one = captured(fake, settings={"concurrency": 1})
    four = threading.Barrier(4, timeout=5)  # the answers come when four were asked for
    fake.answers = lambda body: (isinstance(body["prompt"], list) and four.wait(), replay(body))[1]
    together = captured(fake, settings={"concurrency": 4})
    np.testing.assert_array_equal(one_by_one.label_logprob, together.label_logprob)
    np.testing.assert_array_equal(one_by_one.topk.ids, together.topk.ids)
    assert fake.most == 4


def test_faults_that_pass_change_nothing(fake):
    undisturbed = captured(fake)
    fake.faults.extend([429, 500, CUT, "slow", 503, CUT])
    disturbed = captured(fake, settings={"timeout": 0.5, "retries": 6})
    np.testing.assert_array_equal(undisturbed.label_logprob, disturbed.label_logprob)
    np.testing.assert_array_equal(undisturbed.topk.logprobs, disturbed.topk.logprobs)
    assert not fake.faults


def changed(change):
    def spoil(text):
        held = json.loads(text)
        change(held["choices"][0], held)
        return json.dumps(held)

    return spoil


def nan(choice, _):
    places = choice["prompt_logprobs"]
    row = int(part()[2].rows[1])
    if len(places) > row:
        for entry in places[row].values():
            entry["logprob"] = float("nan")


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (400, r"fault 400, you sent Bearer \(key\)"),
        (
            changed(lambda one, _: one["prompt_token_ids"].append(1)),
            "its tokens are not those that were sent",
        ),
        (changed(lambda _, held: held.update(model="other")), "another model, 'other'"),
        (changed(lambda one, _: one.update(prompt_logprobs=None)), "cannot score prompts"),
        (changed(nan), "no finite probability to its text: NaN"),
        (
            changed(
                lambda one, _: [e.update(logprob=2.0) for p in one["prompt_logprobs"][1:] for e in p.values()]
            ),
            "These are not log-probabilities",
        ),
    ],
)
def test_what_is_wrong_is_an_error_at_once_and_names_the_conversation(fake, fault, message):
    fake.faults.extend([fault] * 9)
    with pytest.raises(ModelError, match=message) as caught:
        captured(fake)
    assert KEY not in str(caught.value) and fake.seen[COMPLETIONS] <= 4
    assert fault == 400 or "conversation" in caught.value.where


def test_a_server_that_never_answers_is_an_error_in_the_end(fake):
    fake.faults.extend([500] * 99)
    with pytest.raises(MachineError, match="No usable response from the server in 3 tries: 500"):
        captured(fake, settings={"retries": 2})


def test_before_the_first_conversation(fake):
    with pytest.raises(ModelError, match="has no model 'other'"):
        captured(fake, settings={"model": "other"})
    with pytest.raises(ModelError, match="tokenizer differs"):
        captured(fake, samples=(Sample("Hi", (1, 2)),))
    with pytest.raises(ModelError, match="the longest conversation has 1024"):
        captured(fake, longest=1024)
    assert fake.seen[COMPLETIONS] == 0


def test_without_tokenize_it_is_said_what_is_not_checked(fake, capsys):
    fake.tokenize = False
    captured(fake)
    assert "no /tokenize, so that its tokenizer could not be compared" in capsys.readouterr().err.replace(
        "\n", " "
    )


def test_the_key_must_be_there(fake, monkeypatch):
    for value in ("", "zwölf", "a\nb"):
        monkeypatch.setenv("SOME_KEY", value)
        with pytest.raises(RecipeError, match="SOME_KEY") as caught:
            captured(fake)
        assert caught.value.where == "sources.a.capture.key_env" and (
            not value or value not in str(caught.value)
        )


@pytest.mark.parametrize(
    "url",
    ["host:8000", "ftp://host", "http://name:word@host", "http://host?key=1", "http://", "http://host:port",
     "http://host:99999", "http://host:-1", "http://a host", "http://ho\nst", "http://host#part"],
)  # fmt: skip
def test_addresses_that_are_none_or_hold_a_key(url):
    with pytest.raises(ValueError, match=r"server's URL|must not contain a key"):
        Endpoint(url=url)


def test_spaces_around_an_address_do_no_harm():
    assert Endpoint(url=" http://host:8000\n").url == "http://host:8000"


def test_settings_that_change_no_distribution_are_not_dumped():
    backend = Endpoint(url="http://h:1", key_env="K", concurrency=3, model="m", probe_bound=0.2)
    assert backend.model_dump(mode="json") == {"backend": "endpoint", "model": "m"}
    assert backend.means == {
        "url": "http://h:1", "key_env": "K", "concurrency": 3, "timeout": 600.0, "retries": 8, "probe_bound": 0.2,
    }  # fmt: skip
    again = Endpoint.model_validate(backend.model_dump(mode="json")).model_copy(update=backend.means)
    assert again == backend and (str(again), str(Endpoint())) == ("endpoint (m)", "endpoint")
    assert capture.BACKENDS["endpoint"] is Endpoint and not Endpoint.reads_weights


def test_what_check_says(fake):
    place = "sources.a.capture"
    assert Endpoint(url=fake.url).faults(place, MODEL) == []
    assert Endpoint(url=fake.url, model=MODEL).faults(place, "models/small") == []
    (other,) = Endpoint(url=fake.url, model="other").faults(place, MODEL)
    (unnamed,) = Endpoint(url=fake.url).faults(place, "models/small")
    (gone,) = Endpoint(url="http://127.0.0.1:1").faults(place, MODEL)
    (unset,) = Endpoint(url=fake.url, key_env="NOT_SET_AT_ALL").faults(place, MODEL)
    assert "the server has no model 'other'" in other and "has no model 'models/small'" in unnamed
    assert gone.startswith(f"{place}: http://127.0.0.1:1/v1/models: no usable response from the server")
    assert unset == f"{place}.key_env: the environment variable NOT_SET_AT_ALL is not set"
    with pytest.raises(RecipeError, match="needs the server's URL"):
        Endpoint().require(place)
