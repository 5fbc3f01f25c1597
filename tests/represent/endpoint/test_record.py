"""The recording is of four conversations, and what the server gave is what transformers gives."""

import json

import numpy as np

from tests.represent.endpoint.server import part, recorded


def test_the_server_gave_what_transformers_gives():
    """fp32 on both sides: label log-probabilities within 2e-4 nats, the ten most likely tokens the same but near ties."""
    held, own = recorded(), part()
    assert (len(own), own.supervised.rows) == (4, 40)
    places = [json.loads(text)["choices"][0]["prompt_logprobs"] for text in held["answers"]]
    label = [
        places[i][row][str(token)]["logprob"]
        for i, one in enumerate(own)
        for row, token in zip(one.rows.tolist(), one.input_ids[one.rows].tolist(), strict=True)
    ]
    np.testing.assert_allclose(label, held["transformers"]["label_logprob"], atol=2e-4)
    ids = [
        {int(i) for i, v in places[c][row].items() if v["rank"] <= 10}
        for c, one in enumerate(own)
        for row in one.rows
    ]
    same = [len(a & set(b)) for a, b in zip(ids, held["transformers"]["ids"], strict=True)]
    assert min(same) >= 9 and np.mean(same) > 9.9


def test_the_server_has_the_local_tokens():
    for text, ids in recorded()["tokens"].values():
        assert json.loads(text)["tokens"] == ids
