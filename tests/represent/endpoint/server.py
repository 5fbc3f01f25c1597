"""A test server that replays what a real `vllm serve` answered (record.py), with faults put in; and one that scores."""

import gzip
import json
import time
from collections import Counter, deque
from contextlib import contextmanager
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread

import numpy as np

from fusionchat.corpus.rendered_part import RenderedPart
from fusionchat.corpus.supervised import SupervisedTokens
from fusionchat.represent.endpoint.before import COMPLETIONS, TOKENIZE
from tests.represent.endpoint.record import FILE

CUT = "cut"
SLOW_S = 1.0
"""How long a slow answer takes; a client that waits for less sees a timeout."""


@cache
def recorded():
    """What was recorded."""
    return json.loads(gzip.decompress(FILE.read_bytes()))


def part() -> RenderedPart:
    """The conversations of the recording."""
    held = recorded()["part"]
    wide = ("starts", "offsets")
    arrays = {
        name: np.array(value, np.int64 if name in wide else np.int32)
        for name, value in held.items()
        if name != "bytes"
    }
    own = [arrays.pop(name) for name in ("input_ids", "starts", "places")]
    return RenderedPart(*own, supervised=SupervisedTokens(**arrays))


def replay(body):
    """Status and text of the recorded answer to a request."""
    if "prompt" in body and isinstance(body["prompt"], str):
        held = recorded()["tokens"].get(body["prompt"])
        return (200, held[0]) if held else (404, "{}")
    for one, text in zip(part(), recorded()["answers"], strict=True):
        if body["prompt"] == [one.input_ids.tolist()]:
            return 200, text
    return tuple(recorded()["refused"][2])


class Fake(ThreadingHTTPServer):
    """A server with its faults.

    Attributes:
        faults: What happens to the next completions, one each; then all is well. A status; ``"cut"``; ``"slow"``;
            ``"packed"``, which the answer then is not; or a function of the answer's text.
        answers: Makes a status and a text of a request's body.
        seen: Requests by path.
        keys: The authorizations that came.
        models: What /v1/models says; None for what was recorded.
        tokenize: Whether there is /tokenize.
        headers: Headers that go with a status.
    """

    daemon_threads = True

    def __init__(self, answers=replay):
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers, self.faults, self.seen, self.keys = answers, deque(), Counter(), set()
        self.models, self.tokenize, self.headers, self.lock = None, True, {}, Lock()
        self.most, self.now = 0, 0

    def handle_error(self, *_):
        """A client that went away is no fault here."""

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Fake

    def log_message(self, *_):
        pass

    def _send(self, status, text, length=None, *, packed=False):
        raw = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(length or len(raw)))
        if packed:
            self.send_header("Content-Encoding", "gzip")
        for name, value in self.server.headers.items() if status != 200 else ():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(raw)

    def _count(self):
        with self.server.lock:
            self.server.seen[self.path] += 1
            self.server.keys.add(self.headers.get("Authorization"))

    def do_GET(self):
        self._count()
        held = recorded()["get"] | ({"/v1/models": self.server.models} if self.server.models else {})
        self._send(200, held[self.path]) if self.path in held else self._send(404, '{"detail":"Not Found"}')

    def do_POST(self):
        self._count()
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path == TOKENIZE and not self.server.tokenize:
            self._send(404, '{"detail":"Not Found"}')
            return
        fault = None
        with self.server.lock:
            self.server.now += 1
            self.server.most = max(self.server.most, self.server.now)
            if self.path == COMPLETIONS and self.server.faults:
                fault = self.server.faults.popleft()
        try:
            self._answer(body, fault)
        finally:
            with self.server.lock:
                self.server.now -= 1

    def _answer(self, body, fault):
        if isinstance(fault, int):
            self._send(
                fault,
                f'{{"error":{{"message":"fault {fault}, you sent {self.headers.get("Authorization")}"}}}}',
            )
            return
        status, text = self.server.answers(body)
        if fault == "slow":
            time.sleep(SLOW_S)
        if fault == CUT:
            self._send(status, text[: len(text) // 2], length=len(text))
            self.close_connection = True
            return
        self._send(status, fault(text) if callable(fault) else text, packed=fault == "packed")


@contextmanager
def serving(answers=replay):
    """A server that runs meanwhile."""
    server = Fake(answers)
    Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


def scoring(model, tokenizer, name):
    """Answers in vLLM's form, worked out by a model of transformers in this process: for models that were not recorded."""
    import torch

    def answer(body):
        if body["model"] != name:
            return 404, '{"error":{"message":"no such model"}}'
        if isinstance(body["prompt"], str):
            return 200, json.dumps(
                {"tokens": tokenizer(body["prompt"], add_special_tokens=False)["input_ids"]}
            )
        ids = body["prompt"][0]
        with torch.inference_mode():
            logprobs = model(torch.tensor([ids])).logits[0].log_softmax(-1)
        places = [None]
        for row, token in zip(logprobs[:-1], ids[1:], strict=True):
            top = row.topk(body["prompt_logprobs"]).indices.tolist()
            places.append({str(i): {"logprob": float(row[i])} for i in (token, *top)})
        choice = {"index": 0, "text": "", "prompt_logprobs": places, "prompt_token_ids": ids}
        return 200, json.dumps({"model": name, "choices": [choice]})

    return answer
