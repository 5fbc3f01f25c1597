"""What is captured is what the model says."""

import numpy as np
import torch


def test_captured_distributions_are_the_models_own(finished):
    """A conversation scored by hand, row by row."""
    from transformers import AutoModelForCausalLM

    from fusionchat.represent.store.read import DistributionStore
    from fusionchat.stages.corpus import make_renderer, read_part, read_tokens
    from fusionchat.stages.names import CORPUS

    reference = finished.refs["qwen"]
    tokens = read_tokens(finished.path(CORPUS), "train", "qwen")
    scored = DistributionStore(finished.path("represent/qwen")).scored(tokens, 0, 1)
    rendered = make_renderer(reference).render(read_part(finished.path(CORPUS), "train")[0])
    model = AutoModelForCausalLM.from_pretrained(reference.model).eval()
    with torch.no_grad():
        logprobs = model(torch.tensor(rendered.input_ids[None], dtype=torch.long)).logits[0].log_softmax(-1)
    own = logprobs[rendered.rows - 1]
    labels = rendered.input_ids[rendered.rows]
    np.testing.assert_array_equal(scored.tokens.labels, labels)
    np.testing.assert_allclose(scored.label_logprob, own[np.arange(len(labels)), labels], atol=1e-4)
    np.testing.assert_allclose(scored.topk.logprobs, own.topk(scored.topk.k).values, atol=5e-3)
