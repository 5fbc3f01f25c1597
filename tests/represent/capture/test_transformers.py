"""The transformers backend gives what the forward pass gives, with the settings it is asked for."""

import numpy as np
import transformers

from fusionchat.corpus.rendered_part import join
from fusionchat.models.head import Head
from fusionchat.models.ref import ModelRef
from fusionchat.represent.capture.base import Asked
from fusionchat.represent.capture.transformers import Opened, Transformers
from fusionchat.represent.forward import capture
from fusionchat.represent.notes import Notes
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
    assert scored.topk.ids.shape == (5, 4) and done == [0, 7, 7]
    np.testing.assert_array_equal(scored.topk.ids, own.topk.ids)
    np.testing.assert_array_equal(scored.label_logprob, own.label_logprob)
    assert Transformers().version == transformers.__version__


def test_a_shard_that_does_not_fit_is_made_with_smaller_batches(monkeypatch, capsys):
    """A model that cannot have two conversations at once: progress is right, the notes say it, the result is the same."""
    head, done, sizes = made_head(), [], []
    states = Head.states

    def narrow(self, tokens, mask):
        sizes.append(tuple(tokens.shape))
        if len(tokens) > 1:
            raise MemoryError
        return states(self, tokens, mask)

    rendered, notes = join([conversation(3, 1, 4), conversation(2, 7, 5), conversation(9, 9)]), Notes()
    notes.begin(np.array([0, 4]))
    asked = Asked(ModelRef("a", "", ""), TOKENS, 4, "float32", "cpu", batch_tokens=8, notes=notes)
    whole = Opened(head, asked)(rendered, names="abc", advance=lambda _: None)
    monkeypatch.setattr(Head, "states", narrow)
    scored = Opened(head, asked)(rendered, names="abc", advance=done.append)
    assert sizes == [(2, 3), (1, 3), (1, 3), (1, 2)] and sum(done) == 8
    assert (notes.batch_tokens, notes.halved) == (8, 1) and sorted(notes.entropy) == [0, 4]
    assert "represent a: out of memory; tried again with 4 padded tokens" in capsys.readouterr().err
    np.testing.assert_array_equal(scored.topk.ids, whole.topk.ids)
