"""A tiny chat model whose answers end soon in some contexts and go on in others."""

from pathlib import Path

import torch

from tests.chat.tiny import make_model, make_tokenizer

STOP = 1


def ending_model(vocabulary: int):
    """Its tokens are all alike but the stop token, whose logit depends on the context."""
    model = make_model(vocabulary)
    head = model.get_output_embeddings().weight.data
    head.zero_()
    head[STOP] = -2 * torch.randn(head.shape[1], generator=torch.Generator().manual_seed(0))
    return model


def ending_folder(folder: Path) -> Path:
    """The model in a folder."""
    tokenizer = make_tokenizer()
    ending_model(len(tokenizer)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
