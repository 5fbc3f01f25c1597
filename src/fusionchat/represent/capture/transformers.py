"""Capture with transformers, in this process."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import metadata
from typing import TYPE_CHECKING, Literal

from pydantic import Field, JsonValue, model_validator

from fusionchat.models.device import pick_device
from fusionchat.models.load import load_model
from fusionchat.models.opening import AnyMap, Opening, Sizes
from fusionchat.models.precision import torch_dtype
from fusionchat.models.quantization import describe
from fusionchat.represent.capture.base import Asked, Capture, Capturer

if TYPE_CHECKING:
    from fusionchat.corpus.rendered_part import RenderedPart
    from fusionchat.models.head import Head
    from fusionchat.represent.topk import Scored


class Transformers(Capturer):
    """The model is loaded with transformers and run in this process."""

    backend: Literal["transformers"] = "transformers"
    quantization: dict[str, JsonValue] | None = Field(
        None,
        description="quantize the weights as they are read: `{quant_method: bitsandbytes, load_in_4bit: true, "
        "bnb_4bit_quant_type: nf4}`, or another method of transformers with its settings",
    )
    device_map: AnyMap | None = Field(
        None,
        description="spread the weights over GPUs and host memory: `auto` or another strategy, or `{module: device}`; unset: "
        "all on `runtime.device`",
    )
    max_memory: Sizes | None = Field(
        None, description="memory limit of each device with `device_map`: `{0: 70GB, cpu: 100GB}`"
    )

    gpus: int = Field(
        1,
        ge=1,
        exclude=True,
        description="GPUs that each worker of this model gets with `runtime.workers`; several need `device_map`",
    )

    @model_validator(mode="after")
    def _whole(self) -> "Transformers":
        if self.max_memory is not None and self.device_map is None:
            raise ValueError("max_memory needs device_map: set it to auto")
        if self.gpus > 1 and self.device_map is None:
            raise ValueError("several gpus need device_map: set it to auto")
        _ = self.opening  # raises where they do not fit together
        return self

    @property
    def version(self) -> str:
        """The version of transformers."""
        return metadata.version("transformers")

    @property
    def needs_gpus(self) -> int:
        """The ``gpus`` of the settings."""
        return self.gpus

    def precision(self, dtype: str) -> str:
        """The quantization of the weights, and the dtype of the computation."""
        return dtype if self.quantization is None else f"{describe(self.quantization)}, {dtype}"

    @property
    def opening(self) -> Opening:
        """How the model's weights are loaded."""
        return Opening(quantization=self.quantization, device_map=self.device_map, max_memory=self.max_memory)

    @contextmanager
    def open(self, asked: Asked) -> Iterator[Capture]:
        """Load the model onto the device."""
        from fusionchat.models.head import Head

        device = pick_device(asked.device)
        dtype = torch_dtype(asked.dtype, device, where="represent.dtype")
        head = Head.of(load_model(asked.ref, dtype=dtype, device=device, opening=self.opening))
        yield Opened(head, asked)


class Opened:
    """A model that is loaded."""

    def __init__(self, head: "Head", asked: Asked) -> None:
        self.head, self.asked = head, asked

    def __call__(
        self, rendered: "RenderedPart", *, names: Sequence[str], advance: Callable[[int], None]
    ) -> "Scored":
        """See `Capture`. Where memory runs out, batches of half the size are tried."""
        from fusionchat.represent.forward import capture
        from fusionchat.represent.out_of_memory import with_less

        asked, done = self.asked, 0

        def count(tokens: int) -> None:
            nonlocal done
            done += tokens
            advance(tokens)

        def make(batch_tokens: int) -> "Scored":
            nonlocal done
            advance(-done)
            done = 0
            return capture(
                self.head,
                rendered,
                k=asked.k,
                vocabulary=asked.vocabulary,
                batch_tokens=batch_tokens,
                names=names,
                advance=count,
                notes=asked.notes,
            )

        shortest = int(rendered.lengths.min(initial=asked.batch_tokens))
        label = f"represent {asked.ref.name}"
        scored, halved = with_less(make, asked.batch_tokens, least=shortest, label=label)
        if asked.notes is not None:
            asked.notes.batch_tokens, asked.notes.halved = asked.batch_tokens, halved
        return scored
