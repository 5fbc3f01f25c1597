"""A model of a run, open to answer: loaded here, or on the server that its recipe names."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from fusionchat.answer.question import Ask
from fusionchat.answer.server import Served
from fusionchat.answer.settings import Sampling
from fusionchat.answer.weights import Weights
from fusionchat.models.opening import PLAIN
from fusionchat.models.ref import ModelRef
from fusionchat.represent.capture import DEFAULT, AnyCapturer
from fusionchat.represent.capture.endpoint import Endpoint
from fusionchat.runtime import RuntimeSettings
from fusionchat.settings import Frozen
from fusionchat.stages.corpus import make_renderer


class Draws(Frozen):
    """Everything that changes answers except the model and the questions.

    Attributes:
        sampling: How tokens are drawn.
        seed: The seed of the draws.
        dtype: The dtype that weights are loaded in.
    """

    sampling: Sampling
    seed: int
    dtype: str


@contextmanager
def answering(
    ref: ModelRef,
    draws: Draws,
    runtime: RuntimeSettings,
    *,
    capturer: AnyCapturer = DEFAULT,
    advance: Callable[[int], None],
) -> Iterator[Ask]:
    """A model, open to be asked.

    Args:
        ref: The model.
        draws: How it answers.
        runtime: Device, and positions of a batch.
        capturer: How the recipe captures it: from a server, or how its weights are loaded.
        advance: Called with the number of prompts done.
    """
    from fusionchat.models.device import pick_device
    from fusionchat.models.load import load_model
    from fusionchat.models.precision import torch_dtype

    renderer = make_renderer(ref)
    if isinstance(capturer, Endpoint):
        with capturer.server(f"{ref.where}.capture") as server:
            yield Served(
                server,
                capturer.model or ref.model,
                renderer,
                draws.sampling,
                seed=draws.seed,
                concurrency=capturer.concurrency,
                advance=advance,
            )
        return
    device = pick_device(runtime.device)
    dtype = torch_dtype(draws.dtype, device, where="represent.dtype")
    opening = capturer.opening if capturer.reads_weights else PLAIN
    yield Weights(
        load_model(ref, dtype=dtype, device=device, opening=opening),
        renderer,
        draws.sampling,
        seed=draws.seed,
        batch_tokens=runtime.batch_tokens,
        advance=advance,
    )
