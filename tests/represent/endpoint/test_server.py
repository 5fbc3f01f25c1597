"""The test server itself: what it replays is what was recorded, and a request that was not is refused."""

import httpx2 as httpx

from fusionchat.represent.endpoint.before import COMPLETIONS, MODELS
from fusionchat.represent.endpoint.prompt import request
from tests.represent.endpoint.record import MODEL
from tests.represent.endpoint.server import part, recorded, serving


def test_it_replays():
    with serving() as server, httpx.Client(base_url=server.url) as client:
        assert client.get(MODELS).text == recorded()["get"][MODELS]
        body = request(MODEL, part()[1], 10)
        assert client.post(COMPLETIONS, json=body).text == recorded()["answers"][1]
        assert client.post(COMPLETIONS, json=body | {"prompt": [[1]]}).status_code == 400
        assert client.get("/nothing").status_code == 404
        assert server.seen == {MODELS: 1, COMPLETIONS: 2, "/nothing": 1}
