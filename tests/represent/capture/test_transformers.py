"""The transformers backend gives what the forward pass gives, with the settings it is asked for."""

import numpy as np
import transformers

from fusionchat.corpus.rendered import join
from fusionchat.models.head import Head
from fusionchat.models.ref import ModelRef
from fusionchat.represent.capture.base import Asked
from fusionchat.represent.capture.transformers import Transformers
from fusionchat.represent.forward import capture
from tests.represent.test_forward import TOKENS, conversation, made_head


def test_it_captures_what_the_forward_pass_does(tmp_path):
    made_head().model.save_pretrained(tmp_path)
    rendered, done = join([conversation(3, 1, 4, 1, 5), conversation(2, 7)]), []
    asked = Asked(
        ModelRef("a", str(tmp_path), str(tmp_path)),
        vocabulary=TOKENS,
        k=4,
        dtype="float32",
        device="cpu",
        batch_tokens=64,
    )
    with Transformers().open(asked) as opened:
        scored = opened(rendered, names=["x", "y"], advance=done.append)
    head = Head.of(made_head().model)
    own = capture(
        head, rendered, k=4, vocabulary=TOKENS, batch_tokens=64, names=["x", "y"], advance=done.append
    )
    assert scored.topk.ids.shape == (5, 4) and done == [2, 2]
    np.testing.assert_array_equal(scored.topk.ids, own.topk.ids)
    np.testing.assert_array_equal(scored.label_logprob, own.label_logprob)
    assert Transformers().version == transformers.__version__
