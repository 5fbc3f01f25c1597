"""How near a capture on a GPU is to the bare forward pass, and whether what it keeps is exact.

    bash benchmarks/gpu_capture.sh            # on a machine with a GPU, with the wheels it carries: under four minutes
    python -m benchmarks.gpu_capture          # where everything is installed

A model with Llama 3.2 1B's structure (vocabulary 128,256) and random weights made on the GPU scores conversations of random
tokens, half of them supervised, in bfloat16. Figures, the last line as JSON:

- ``of_forward``: seconds of the body on the same length-sorted batches and of the head's product for the same rows, over those
  of the whole capture. ``of_model``: those of ``model(input_ids).logits`` for all tokens, over the same.
- ``tokens_per_s`` of a capture, by padded tokens a batch.
- ``head_error``: the largest error of a logit against float64, over the largest logit; of our product with fp32 output, and of
  one that is rounded to bfloat16.
- ``topk_same``: whether the kept tokens have the values of `torch.topk`, ties and padded rows of the head included.
  ``logprob_error``, ``tail_error``: nats, against float64.
- ``selection_over_topk``, ``selection_over_pass``: `topk` + `logsumexp` over our selection; that over `amax` + `exp().sum()`.
- ``extra_mb``: most memory beside the model, of the body alone and of a capture.
- ``store_same``: a small model, saved, opened by the transformers backend and captured, is read from its store as it was scored;
  ``plain_nats``: how far it is from ``model(input_ids).logits.log_softmax()``, at most.

Without a GPU all of it runs at toy size, and its figures, which would say nothing of a GPU, are null.
"""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM

from benchmarks.gpu_result import measured, write
from fusionchat.corpus.render import Rendered
from fusionchat.corpus.rendered_part import RenderedPart, join
from fusionchat.models.head import Head
from fusionchat.models.logits import DEVICE_ELEMENTS
from fusionchat.models.ref import ModelRef
from fusionchat.represent.asked import Asked
from fusionchat.represent.batching import ON_DEVICE, batches
from fusionchat.represent.capture.transformers import Transformers
from fusionchat.represent.forward import capture
from fusionchat.represent.select import select, select_on_device
from fusionchat.represent.store.layout import Encoding
from fusionchat.represent.store.read import DistributionStore
from fusionchat.represent.store.write import write_store
from fusionchat.represent.topk import Scored

K = 10
SMALL = {"hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 2, "num_attention_heads": 4,
         "num_key_value_heads": 2, "vocab_size": 3000}  # fmt: skip


class Size(NamedTuple):
    """How much is measured.

    Attributes:
        shape: Of the model.
        tokens: Of the text.
        longest: Of its conversations, at most.
        batches: Padded tokens a batch; the first is used for all but ``tokens_per_s``.
        rounds: Of which the median is taken.
        rows: Of the logits that are selected from; 0 for as many as are made at once.
    """

    shape: dict[str, int]
    tokens: int
    longest: int
    batches: tuple[int, ...]
    rounds: int
    rows: int = 0


REAL = Size(
    {"hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 16, "num_attention_heads": 32,
     "num_key_value_heads": 8, "vocab_size": 128_256},
    tokens=200_000, longest=1500, batches=(ON_DEVICE, 4096, 65_536), rounds=5,
)  # fmt: skip
TOY = Size(
    {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 1, "num_attention_heads": 2,
     "num_key_value_heads": 1, "vocab_size": 1000},
    tokens=300, longest=60, batches=(128, 64), rounds=1, rows=4,
)  # fmt: skip


def main() -> None:
    """Measure, and print the figures as a table and as JSON."""
    found, folder = measured(__doc__, lambda device: measure(REAL if device.type == "cuda" else TOY, device))
    show(found)
    write(found, folder, "gpu_capture.json")


def show(found: dict[str, object]) -> None:
    """Print all figures as a table."""
    for name, value in found.items():
        parts = value.items() if isinstance(value, dict) else [("", value)]
        for part, figure in parts:
            print(f"{name:20} {part!s:12} {'not measured' if figure is None else figure}")


@torch.inference_mode()
def measure(size: Size, device: torch.device) -> dict[str, object]:
    """All figures."""
    head, text = made_head(size.shape, device), made_text(size)
    return {
        **speed(head, text, size),
        **exactness(head, text, size),
        **selection(head, size),
        **stored(device),
    }


def made_head(shape: dict[str, int], device: torch.device, dtype: torch.dtype = torch.bfloat16) -> Head:
    """A model with random weights; those of its head are larger than usual, so that its logits spread as a trained one's do."""
    torch.manual_seed(0)
    config = LlamaConfig(**shape, max_position_embeddings=4096, tie_word_embeddings=True)
    with device:
        model = LlamaForCausalLM(config)
    model = model.to(dtype).eval()
    model.get_output_embeddings().weight.mul_(4.0)
    return Head.of(model)


def made_text(size: Size) -> RenderedPart:
    """Conversations of random tokens, the second half of each supervised."""
    rng, parts, left = np.random.default_rng(0), [], size.tokens
    while left > 0:
        n = min(left, int(rng.integers(size.longest // 10, size.longest)))
        rows = np.arange(max(1, n // 2), n, dtype=np.int32)
        zero = np.zeros(len(rows), np.int32)
        parts.append(
            Rendered(rng.integers(0, size.shape["vocab_size"], n).astype(np.int32), rows, zero, zero, zero)
        )
        left -= n
    return join(parts)


def captured(head: Head, text: RenderedPart, batch_tokens: int) -> Scored:
    """The capture itself, from tokens on the host to arrays on the host."""
    return capture(
        head,
        text,
        k=K,
        vocabulary=head.weight.shape[0],
        batch_tokens=batch_tokens,
        names=[str(i) for i in range(len(text))],
        advance=lambda _: None,
    )


def speed(head: Head, text: RenderedPart, size: Size) -> dict[str, object]:
    """How fast a capture is beside the bare forward pass on the same batches, and the memory that it takes."""
    device, own = head.device, size.batches[0]
    held = [
        (batch.tokens.to(device), batch.mask.to(device), batch.positions.to(device))
        for batch in batches(text, own)
    ]

    def body() -> None:
        for tokens, mask, _ in held:
            head.states(tokens, mask)

    def forward() -> None:
        for tokens, mask, positions in held:
            hidden = head.states(tokens, mask).flatten(0, 1)[positions]
            for _ in head.tiles(hidden):
                pass

    def model() -> None:
        for tokens, _, _ in held:
            _ = head.model(input_ids=tokens, use_cache=False).logits

    def ours() -> None:
        captured(head, text, own)

    took = medians({"forward": forward, "model": model, "ours": ours}, size.rounds, device)
    total = int(text.lengths.sum())
    by_batch = {own: took["ours"]} | {
        other: medians({"ours": lambda other=other: captured(head, text, other)}, size.rounds, device)["ours"]
        for other in size.batches[1:]
    }
    return {
        "of_forward": round(took["forward"] / took["ours"], 3),
        "of_model": round(took["model"] / took["ours"], 3),
        "tokens_per_s": {str(n): round(total / seconds) for n, seconds in sorted(by_batch.items())},
        "extra_mb": {"body": extra_mb(body, device), "capture": extra_mb(ours, device)},
    }


def medians(works: dict[str, Callable[[], object]], rounds: int, device: torch.device) -> dict[str, float]:
    """Median seconds of each work, in turn, after one round that is not counted."""
    found: dict[str, list[float]] = {name: [] for name in works}
    for round_ in range(rounds + 1):
        for name, work in works.items():
            wait(device)
            begun = time.perf_counter()
            work()
            wait(device)
            if round_:
                found[name].append(time.perf_counter() - begun)
    return {name: median(seconds) for name, seconds in found.items()}


def wait(device: torch.device) -> None:
    """Until the device has done all that it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def extra_mb(work: Callable[[], object], device: torch.device) -> float | None:
    """The most memory of the GPU that some work takes beside what is held, in MB."""
    if device.type != "cuda":
        work()
        return None
    wait(device)
    held = torch.cuda.memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    work()
    return round((torch.cuda.max_memory_allocated(device) - held) / 1e6)


def exactness(head: Head, text: RenderedPart, size: Size) -> dict[str, object]:
    """How far logits are from float64, and what is kept of them from `torch.topk` and float64."""
    batch = next(batches(text, size.batches[0]))
    states = head.states(batch.tokens.to(head.device), batch.mask.to(head.device)).flatten(0, 1)
    hidden = states[batch.positions.to(states.device)][:64]
    exact, logits = hidden.double() @ head.weight.double().T, head.logits(hidden)
    rounded = torch.nn.functional.linear(hidden, head.weight)
    largest = float(exact.abs().max())
    errors = {
        name: float((made.double() - exact).abs().max()) / largest
        for name, made in (("fp32_out", logits), ("bf16_out", rounded))
    }
    return {"head_error": errors, **kept(logits)}


def kept(logits: Tensor) -> dict[str, object]:
    """Whether what is selected is `torch.topk`'s, and its errors against float64, in nats; for some kinds of logits."""
    same, logprob, tail = True, 0.0, 0.0
    for made, vocabulary in kinds(logits):
        labels = torch.arange(len(made), device=made.device) % vocabulary
        exact = made.double().log_softmax(1)
        found = select_on_device(made.clone(), labels, K, vocabulary=vocabulary)
        top = made[:, :vocabulary].topk(K, dim=1).values
        same &= torch.equal(made.gather(1, found.ids), top) and int(found.ids.max()) < vocabulary
        own = exact.gather(1, found.ids)
        rest = exact.scatter(1, found.ids, -torch.inf).logsumexp(1)
        label = exact.gather(1, labels[:, None])[:, 0]
        logprob = max(logprob, worst(found.logprobs, own), worst(found.label_logprob, label))
        tail = max(tail, worst(found.tail, rest))
    return {"topk_same": same, "logprob_error": logprob, "tail_error": tail}


def kinds(logits: Tensor) -> Iterator[tuple[Tensor, int]]:
    """Logits as they are, with ties, with a head that has rows past the vocabulary, and so peaked that the tail is tiny."""
    size = logits.shape[1]
    yield logits, size
    yield logits.round(), size
    yield logits, size - 77
    peaked = logits.clone()
    peaked[:, 5] = peaked.amax(1) + 40.0
    yield peaked, size


def worst(found: Tensor, exact: Tensor) -> float:
    """The largest difference; inf where one of them is not a number."""
    return float((found.double() - exact).abs().nan_to_num(nan=torch.inf).max())


def selection(head: Head, size: Size) -> dict[str, object]:
    """The selection's time beside that of `topk` + `logsumexp` and of one pass, on logits as a capture makes them."""
    vocabulary, device = head.weight.shape[0], head.device
    rows = size.rows or DEVICE_ELEMENTS // vocabulary
    made = [torch.randn(rows, vocabulary, device=device) * 3 for _ in range(2)]  # more than a cache holds
    labels = torch.zeros(rows, dtype=torch.long, device=device)
    choose = select_on_device if device.type == "cpu" else select
    works: dict[str, Callable[[], object]] = {
        "ours": lambda: [choose(logits, labels, K) for logits in made],
        "topk": lambda: [(logits.topk(K), logits.logsumexp(1)) for logits in made],
        "pass": lambda: [(logits.amax(1), logits.exp().sum(1)) for logits in made],
    }
    took = medians(works, 4 * size.rounds, device)
    return {
        "selection_over_topk": round(took["topk"] / took["ours"], 2),
        "selection_over_pass": round(took["ours"] / took["pass"], 2),
        "selection_us_a_row": round(1e6 * took["ours"] / (2 * rows), 3),
    }


def stored(device: torch.device) -> dict[str, object]:
    """Whether a small model that is saved, opened and captured is read from its store as it was, and how near it is to plain."""
    same, plain = True, {}
    with TemporaryDirectory() as name:
        folder = Path(name)
        made_head(SMALL, device, torch.float32).model.save_pretrained(folder / "model")
        ref = ModelRef("small", str(folder / "model"), str(folder / "model"))
        text = made_text(Size(SMALL, 600, 80, (256,), 1))
        for dtype in ("float32", "bfloat16"):
            asked = Asked(ref, SMALL["vocab_size"], K, dtype, device.type, 256)  # type: ignore[arg-type]
            with Transformers().open(asked) as opened:
                names = [str(i) for i in range(len(text))]
                scored = opened(text, names=names, advance=lambda _: None)
                plain[dtype] = plain_difference(opened.head, text, scored)  # type: ignore[attr-defined]
            write_store(folder / dtype, scored, rows=100, encoding=Encoding(SMALL["vocab_size"]))
            read = DistributionStore(folder / dtype).scored(text.supervised, 0, len(text))
            same &= all(
                np.array_equal(getattr(read.topk, part), getattr(scored.topk, part))
                for part in ("ids", "logprobs", "tail", "present")
            ) and np.array_equal(read.label_logprob, scored.label_logprob)
    return {"store_same": same, "plain_nats": plain}


def plain_difference(head: Head, text: RenderedPart, scored: Scored) -> float:
    """Nats by which the text's own log-probabilities differ at most from the model's own logits, one conversation at a time."""
    most, offsets = 0.0, scored.tokens.offsets
    for index, one in enumerate(text):
        tokens = torch.from_numpy(one.input_ids.astype(np.int64)).to(head.device)[None]
        logprobs = head.model(input_ids=tokens, use_cache=False).logits[0].float().log_softmax(-1)
        rows = torch.from_numpy(one.rows.astype(np.int64)).to(head.device)
        own = logprobs[rows - 1].gather(1, tokens[0, rows][:, None])[:, 0].cpu().numpy()
        ours = scored.label_logprob[offsets[index] : offsets[index + 1]]
        most = max(most, float(np.abs(own - ours).max()))
    return most


if __name__ == "__main__":
    main()
