"""Capture with transformers, in this process."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from importlib import metadata
from typing import Literal

from fusionchat.models.device import pick_device
from fusionchat.models.load import load_model
from fusionchat.models.precision import torch_dtype
from fusionchat.represent.capture.base import Asked, Capture, Capturer


class Transformers(Capturer):
    """The model is loaded with transformers and run in this process."""

    backend: Literal["transformers"] = "transformers"

    @property
    def version(self) -> str:
        """Of transformers."""
        return metadata.version("transformers")

    @contextmanager
    def open(self, asked: Asked) -> Iterator[Capture]:
        """Load the model onto the device."""
        from fusionchat.models.head import Head
        from fusionchat.represent.forward import capture

        device = pick_device(asked.device)
        dtype = torch_dtype(asked.dtype, device, where="represent.dtype")
        head = Head.of(load_model(asked.ref, dtype=dtype, device=device))
        yield partial(capture, head, k=asked.k, vocabulary=asked.vocabulary, batch_tokens=asked.batch_tokens)
