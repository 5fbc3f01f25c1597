"""What each of the demo's models sees, how long, and in which shape."""

from types import SimpleNamespace

import pytest

from fusionchat.demo.domains import DOMAINS
from fusionchat.demo.models import CONTEXT, SPECS, config_of, schedule_of


def test_strengths_cover_all_domains():
    strong = [set(SPECS[name].strong) for name in ("mixtral", "qwen")]
    assert not strong[0] & strong[1] and strong[0] | strong[1] == set(SPECS["pivot"].strong)


def test_a_model_sees_its_strong_domains_five_times_as_often():
    assert SPECS["pivot"].mixture() == dict.fromkeys(DOMAINS, 1.0)
    qwen = SPECS["qwen"].mixture()
    assert list(qwen) == list(DOMAINS) and qwen["math"] == 1.0 and qwen["writing"] == 0.2


@pytest.mark.parametrize(
    ("name", "scale", "conversations"), [("pivot", 1.0, 3000), ("qwen", 0.5, 2500), ("pivot", 1e-4, 64)]
)
def test_a_scale_changes_the_number_of_conversations_alone(name, scale, conversations):
    """At least 16 steps of 4 conversations."""
    full, made = SPECS[name].schedule, schedule_of(name, scale)
    assert made.conversations == conversations
    assert (made.batch, made.learning_rate, made.weight_decay) == (
        full.batch,
        full.learning_rate,
        full.weight_decay,
    )


@pytest.mark.parametrize("name", SPECS)
def test_the_configuration_fits_the_tokenizer(name):
    class Tokenizer(SimpleNamespace):
        def __len__(self):
            return 70

    config = config_of(name, Tokenizer(bos_token_id=1, eos_token_id=2, pad_token_id=0))
    assert (config.vocab_size, config.bos_token_id, config.eos_token_id, config.pad_token_id) == (70, 1, 2, 0)
    assert config.max_position_embeddings == CONTEXT and config.tie_word_embeddings
    assert {key: getattr(config, key) for key in SPECS[name].shape} == dict(SPECS[name].shape)
