"""How near a capture is to its floor, the bare forward pass, on this CPU.

    python -m benchmarks.capture [--quick] [--tokens N]

A model with SmolLM2-135M's structure and random weights scores conversations of random tokens, half of them supervised, with
a vocabulary of 49,152 and of 151,936 tokens, in float32 and in bfloat16. The floor is the body on the same length-sorted
batches, the head's product, and one pass over the logits (``amax`` and ``exp().sum()``), each timed alone. `before` repeats
the loop of commit 60dfd0c, whose ``auto`` is float32 on every CPU: batches of 16,384 tokens with a mask, logits and selection
in chunks of 2^26 elements.
``over_60dfd0c`` is against this version in its own ``auto`` dtype; the line before says how much of it is the dtype.
All on one thread, in processor time, least of the rounds. The last line is one JSON object.
"""

import argparse
import json
import threading
import time
from collections.abc import Callable

import numpy as np
import psutil
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from fusionchat.corpus.render import Rendered
from fusionchat.corpus.rendered_part import RenderedPart, join
from fusionchat.models.head import Head
from fusionchat.models.precision import capture_dtype_here
from fusionchat.represent.batching import ON_CPU, batches
from fusionchat.represent.forward import capture
from fusionchat.represent.select import largest, select

SIZES = {"v49k": 49_152, "v152k": 151_936}
SHAPE = {"hidden_size": 576, "intermediate_size": 1536, "num_attention_heads": 9, "num_key_value_heads": 3}
LAYERS, K, OLD_BATCH, OLD_ELEMENTS = 30, 10, 16_384, 2**26


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="1,000 tokens, one round: under a minute")
    parser.add_argument("--tokens", type=int, default=0, help="tokens of the text")
    parser.add_argument("--layers", type=int, default=LAYERS, help="of the body; fewer to try the benchmark")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    tokens, rounds = asked.tokens or (1000 if asked.quick else 8000), 1 if asked.quick else 3
    print(json.dumps(measure(tokens, rounds, asked.layers)))


@torch.inference_mode()
def measure(tokens: int, rounds: int, layers: int) -> dict[str, object]:
    """All figures."""
    of_floor, over, extra, ratio = {}, {}, {}, []
    for name, size in SIZES.items():
        seconds = {}
        text = made_text(tokens, size)
        for dtype, short in ((torch.float32, "fp32"), (torch.bfloat16, "bf16")):
            head = made_head(size, layers, dtype)
            ours(head, made_text(16, size), size)  # compiles
            extra[f"{name}_{short}"] = round(
                peak(lambda head=head, text=text, size=size: ours(head, text, size)) / 1e6
            )
            seconds[short] = least(lambda head=head, text=text, size=size: ours(head, text, size), rounds)
            of_floor[f"{name}_{short}"] = round(floor(head, text, rounds) / seconds[short], 3)
            if short == "fp32":
                was = least(lambda head=head, text=text: before(head, text), rounds)
            print(
                f"{name} {short}: {1e3 * seconds[short] / tokens:.2f} ms a token, {of_floor[f'{name}_{short}']} of the floor"
            )
        ratio.append(seconds["fp32"] / seconds["bf16"])
        auto = "bf16" if capture_dtype_here("cpu", [None]) == "bfloat16" else "fp32"
        over[name], same = round(was / seconds[auto], 2), was / seconds["fp32"]
        print(
            f"{name}: bf16 {ratio[-1]:.2f} times fp32; {auto} {over[name]} times commit 60dfd0c, fp32 {same:.2f} times"
        )
    topk, one_pass = selection(SIZES["v152k"], 5 * rounds)
    amx = getattr(torch.cpu, "_is_amx_tile_supported", bool)()
    return {
        "of_floor": of_floor,
        "over_60dfd0c": over,
        "bf16_over_fp32": round(min(ratio), 2) if amx else None,
        "selection_over_topk": round(topk, 2),
        "selection_over_pass": round(one_pass, 2),
        "extra_mb": extra,
    }


def made_head(vocabulary: int, layers: int, dtype: torch.dtype) -> Head:
    """The model with random weights."""
    torch.manual_seed(0)
    config = LlamaConfig(vocab_size=vocabulary, num_hidden_layers=layers, tie_word_embeddings=True, **SHAPE)
    with torch.device("cpu"):
        return Head.of(LlamaForCausalLM(config).to(dtype).eval())


def made_text(tokens: int, vocabulary: int) -> RenderedPart:
    """Conversations of 60 to 400 tokens, the second half of each supervised."""
    rng, parts, left = np.random.default_rng(0), [], tokens
    while left > 0:
        n = min(left, int(rng.integers(60, 400)))
        rows = np.arange(max(1, n // 2), n, dtype=np.int32)
        zero = np.zeros(len(rows), np.int32)
        parts.append(Rendered(rng.integers(0, vocabulary, n).astype(np.int32), rows, zero, zero, zero))
        left -= n
    return join(parts)


def ours(head: Head, text: RenderedPart, vocabulary: int) -> None:
    """The capture."""
    names = [str(i) for i in range(len(text))]
    capture(head, text, k=K, vocabulary=vocabulary, batch_tokens=ON_CPU, names=names, advance=lambda _: None)


def floor(head: Head, text: RenderedPart, rounds: int) -> float:
    """Seconds of the body, of the head's product and of a pass over the logits, each alone."""
    held = [(b, head.states(b.tokens, b.mask).flatten(0, 1)[b.positions]) for b in batches(text, ON_CPU)]

    def body() -> None:
        for batch, _ in held:
            head.states(batch.tokens, batch.mask)

    def product() -> None:
        for _, hidden in held:
            for _ in head.tiles(hidden):
                pass

    rows = sum(len(hidden) for _, hidden in held)
    some = torch.randn(8, head.weight.shape[0])

    def one_pass() -> None:
        some.amax(1), some.exp().sum(1)

    return least(body, rounds) + least(product, rounds) + least(one_pass, 5) * rows / len(some)


def before(head: Head, text: RenderedPart) -> None:
    """The loop of commit 60dfd0c."""
    for batch in batches(text, OLD_BATCH):
        hidden = head.hidden(batch.tokens, batch.mask).flatten(0, 1)[batch.positions]
        chunk = max(1, OLD_ELEMENTS // head.weight.shape[0])
        for first in range(0, len(hidden), chunk):
            logits = torch.nn.functional.linear(hidden[first : first + chunk], head.weight)
            old_select(logits, batch.labels[first : first + chunk])


def old_select(logits: torch.Tensor, labels: torch.Tensor) -> None:
    """The selection of commit 60dfd0c."""
    values, ids = largest(logits, K)
    own = logits.gather(1, labels[:, None])
    rest = torch.logsumexp(logits.scatter_(1, ids, -torch.inf), dim=1, keepdim=True)
    logits.scatter_(1, ids, values)
    log_z = torch.logsumexp(torch.cat([values, rest], dim=1), dim=1, keepdim=True)
    (values - log_z, rest - log_z, own - log_z)


def selection(vocabulary: int, rounds: int) -> tuple[float, float]:
    """``topk`` + ``logsumexp`` over ours, and ours over one pass; each at the chunk that is best for it."""
    best = dict.fromkeys(("ours", "topk", "pass"), float("inf"))
    for rows in (1, 4, 16, 48):
        logits, labels = torch.randn(rows, vocabulary) * 3, torch.zeros(rows, dtype=torch.long)
        kinds: dict[str, Callable[[], object]] = {
            "ours": lambda logits=logits, labels=labels: select(logits, labels, K),
            "topk": lambda logits=logits: (logits.topk(K), logits.logsumexp(1)),
            "pass": lambda logits=logits: (logits.amax(1), logits.exp().sum(1)),
        }
        # What ours leaves are the rest of the logits: as many to compare and to add up again.
        for kind in ("topk", "pass", "ours"):
            best[kind] = min(best[kind], least(kinds[kind], rounds) / rows)
    return best["topk"] / best["ours"], best["ours"] / best["pass"]


def least(work: Callable[[], object], rounds: int) -> float:
    """Processor seconds of some work, the least of the rounds."""
    found = []
    for _ in range(rounds):
        begun = time.process_time()
        work()
        found.append(time.process_time() - begun)
    return min(found)


def peak(work: Callable[[], object]) -> float:
    """Bytes by which the process grows while it works, at most."""
    process, over = psutil.Process(), threading.Event()
    first = most = process.memory_info().rss

    def watch() -> None:
        nonlocal most
        while not over.wait(0.005):
            most = max(most, process.memory_info().rss)

    thread = threading.Thread(target=watch)
    thread.start()
    work()
    over.set()
    thread.join()
    return float(most - first)


if __name__ == "__main__":
    main()
