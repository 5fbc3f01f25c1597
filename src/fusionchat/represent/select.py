# N rows, V vocabulary, T tokens of a tile, K kept tokens
"""The k most likely tokens and the mass of all others, exactly, in one pass. PURE.

On a CPU the logits may come in tiles of the vocabulary (`Selection`), so that they never leave the cache; the loops are
in `fusionchat.represent.kernel`. Elsewhere the same is done with torch (`select_on_device`).
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from subprocess import CalledProcessError
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from fusionchat.represent.kernel import Best, add_rows, finish

BLOCK = 64
LEAST_WORK = 1 << 16
"""The fewest logits for which a second thread pays."""


class Selected(NamedTuple):
    """The kept tokens of each row.

    Attributes:
        ids: int64 [N, K], most likely first; on a CPU the lower id first where two are as likely.
        logprobs: fp32 [N, K].
        tail: fp32 [N], log of the mass outside, exact however small; -inf where nothing is left.
        label_logprob: fp32 [N].
    """

    ids: Int[Tensor, "N K"]
    logprobs: Float[Tensor, "N K"]
    tail: Float[Tensor, " N"]
    label_logprob: Float[Tensor, " N"]


def select(
    logits: Float[Tensor, "N V"], labels: Int[Tensor, " N"], k: int, *, vocabulary: int | None = None
) -> Selected:
    """The k most likely tokens, log-softmax in fp32 before the cut, and the label's log-probability.

    A row with NaN or +inf has a label_logprob that is not finite.

    Args:
        logits: fp32; overwritten.
        labels: The tokens that follow.
        k: At most V, and at most ``vocabulary``.
        vocabulary: Tokens of the tokenizer; rows of the head past them pad it, and their mass is tail. None
            for V.
    """
    assert logits.dtype == torch.float32, "log-softmax is taken in fp32"
    if logits.device.type != "cpu":
        return select_on_device(logits, labels, k, vocabulary=vocabulary)
    selection = Selection(labels, k, vocabulary=vocabulary or logits.shape[1])
    selection.add(logits, 0, 0)
    return selection.finish()


class Selection:
    """`select` for logits that come in tiles, in host memory.

    Every row must get every token once, in rising order; rows may come in any order.
    """

    def __init__(self, labels_N: Int[Tensor, " N"], k: int, *, vocabulary: int) -> None:
        n = len(labels_N)
        self.k, self.vocabulary = k, vocabulary
        padding = np.zeros((n, 2))
        padding[:, 0] = -np.inf
        self._best = Best(
            values=np.full((n, k + 1), -np.inf, np.float32),
            ids=np.zeros((n, k + 1), np.int32),
            sums=np.zeros(n),
            labels=labels_N.numpy().astype(np.int64, copy=False),
            own=np.full(n, np.nan, np.float32),
            padding=padding,
        )

    def add(self, logits_NT: Float[Tensor, "N T"], first_row: int, first_token: int) -> None:
        """Add the logits of some rows for the tokens first_token..first_token + T - 1; they are overwritten."""
        tile = logits_NT.contiguous().numpy()

        def part(low: int, high: int) -> None:
            rows = (first_row + low, first_row + high)
            add_rows(tile[low:high], first_token, self.vocabulary, rows, self._best)

        _share(part, len(tile), tile.size)

    def finish(self) -> Selected:
        """The result, once every row has got every token; the selection cannot be used again."""
        best = self._best
        n = len(best.labels)
        tail, label = np.empty(n, np.float32), np.empty(n, np.float32)
        finish(best, (0, n), tail, label)
        kept = slice(0, self.k)
        return Selected(
            torch.from_numpy(best.ids[:, kept].astype(np.int64)),
            torch.from_numpy(best.values[:, kept]),
            torch.from_numpy(tail),
            torch.from_numpy(label),
        )


def _share(part: Callable[[int, int], None], rows: int, work: int) -> None:
    """Call ``part(low, high)`` for all rows, on torch's number of threads.

    The number of threads does not change a row's result.
    """
    threads = min(torch.get_num_threads(), rows)
    if threads <= 1 or work < LEAST_WORK:
        part(0, rows)
        return
    cuts = [rows * i // threads for i in range(threads + 1)]
    list(_pool(threads).map(part, cuts[:-1], cuts[1:]))


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, "select")


def select_on_device(
    logits: Float[Tensor, "N V"], labels: Int[Tensor, " N"], k: int, *, vocabulary: int | None = None
) -> Selected:
    """`select` with torch's operations: a pass for block maxima, and one for the sum if compiled.

    With r the largest logit of the rest, the tail is log(sum of exp(x - r)) + r over the rest alone; a
    difference of 1 and the kept masses would be noise under 1e-7. Which of several equally likely tokens are
    kept depends on `topk`.
    """
    inside = logits[:, :vocabulary]
    values, ids = largest(inside, min(k + 1, inside.shape[1]))
    own = logits.gather(1, labels[:, None])
    values, ids, reference = values[:, :k], ids[:, :k], values[:, -1:]
    if values.shape[1] == inside.shape[1]:
        reference = torch.full_like(reference, -torch.inf)
    if inside.shape[1] < logits.shape[1]:
        reference = torch.maximum(reference, logits[:, inside.shape[1] :].amax(1, keepdim=True))
    rest = _log_sum(logits.scatter_(1, ids, -torch.inf), reference)
    log_z = torch.logsumexp(torch.cat([values, rest], dim=1), dim=1, keepdim=True)
    return Selected(ids, values - log_z, (rest - log_z).squeeze(1), (own - log_z).squeeze(1))


def largest(values: Float[Tensor, "N V"], k: int) -> tuple[Float[Tensor, "N K"], Int[Tensor, "N K"]]:
    """``values.topk(k)`` from block maxima: the k largest are in the k blocks with the largest maxima."""
    n, v = values.shape
    blocks = v // BLOCK
    if blocks < 4 * k:
        top = values.topk(k)
        return top.values, top.indices
    body = values[:, : blocks * BLOCK].unflatten(1, (blocks, BLOCK))
    chosen = body.amax(dim=2).topk(k, dim=1).indices
    candidates = body.gather(1, chosen[:, :, None].expand(n, k, BLOCK)).reshape(n, k * BLOCK)
    offsets = torch.arange(BLOCK, device=values.device)
    ids = (chosen[:, :, None] * BLOCK + offsets).reshape(n, k * BLOCK)
    rest = torch.arange(blocks * BLOCK, v, device=values.device).expand(n, -1)
    candidates = torch.cat([candidates, values[:, blocks * BLOCK :]], dim=1)
    ids = torch.cat([ids, rest], dim=1)
    top = candidates.topk(k, dim=1)
    return top.values, ids.gather(1, top.indices)


def _log_sum(rest: Float[Tensor, "N V"], reference: Float[Tensor, "N 1"]) -> Float[Tensor, "N 1"]:
    """log(sum of exp(rest)), with the largest of each row known."""
    finite = reference.nan_to_num(0.0, 0.0, 0.0)
    total = _sum_exp(rest.device.type)(rest, finite)
    return total.log() + finite


@cache
def _sum_exp(device: str) -> Callable[[Tensor, Tensor], Tensor]:
    """A function for the sum of exp(x - reference) of each row.

    It makes one pass where torch can compile for the device, five elsewhere.

    Compiling needs a C compiler and Python's headers, which a machine with a GPU may lack; it is tried once,
    on two rows.
    """
    from torch.utils._triton import has_triton  # torch does not import it by itself

    if device != "cuda" or not has_triton():  # type: ignore[no-untyped-call]
        return sum_exp
    compiled: Callable[[Tensor, Tensor], Tensor] = torch.compile(sum_exp, dynamic=True)
    rows = torch.zeros(2, BLOCK, device=device)
    try:
        compiled(rows, rows[:, :1])
    except (RuntimeError, OSError, CalledProcessError):
        return sum_exp
    return compiled


def sum_exp(rest: Float[Tensor, "N V"], reference: Float[Tensor, "N 1"]) -> Float[Tensor, "N 1"]:
    """The sum of exp(x - reference) of each row."""
    return (rest - reference).exp().sum(1, keepdim=True)
