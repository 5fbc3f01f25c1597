# B answers of a batch, T tokens of an answer, V vocabulary
"""Drawing the tokens of answers: each answer has random numbers of its own. PURE.

So an answer does not depend on the others in its batch.
"""

import hashlib

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor


def uniforms(seed: int, name: str, count: int) -> NDArray[np.float64]:
    """``count`` numbers in [0, 1) that depend only on the seed and the answer's name, float64."""
    key = hashlib.sha256(f"{seed}\n{name}".encode()).digest()[:16]
    return np.random.Generator(np.random.Philox(key=int.from_bytes(key, "big"))).random(count)


def pick(
    logits_BV: Float[Tensor, "B V"], uniform_B: Float[Tensor, " B"], *, temperature: float, top_p: float
) -> Int[Tensor, " B"]:
    """A token for each row, drawn from softmax(logits / temperature) by inverting its cumulative sum.

    The inverse is taken at ``uniform_B``.

    With ``top_p`` the draw is among the fewest tokens whose mass is at least that (nucleus sampling, arXiv
    1904.09751v2, section 3.1). A draw needs one number, so it is the same on every device except for the
    rounding of the logits.
    """
    # 1. p = softmax(x / T), in fp64 if possible, since sums of a large vocabulary's small masses decide
    wide = torch.float32 if logits_BV.device.type == "mps" else torch.float64
    mass_BV = torch.softmax(logits_BV.to(wide) / temperature, dim=1)
    order_BV = None
    # 2. a token is in the nucleus if the tokens before it have less than top_p
    if top_p < 1:
        mass_BV, order_BV = mass_BV.sort(dim=1, descending=True, stable=True)
        mass_BV = mass_BV.masked_fill(mass_BV.cumsum(1) - mass_BV >= top_p, 0.0)
    # 3. the first token whose sum exceeds u times the total mass; rounding never leads past the last one with mass
    sums_BV = mass_BV.cumsum(1)
    whole_B1 = sums_BV[:, -1:].contiguous()
    point_B1 = uniform_B.to(wide)[:, None] * whole_B1
    place_B1 = torch.minimum(
        torch.searchsorted(sums_BV, point_B1, right=True), torch.searchsorted(sums_BV, whole_B1)
    )
    return (place_B1 if order_BV is None else order_BV.gather(1, place_B1))[:, 0]


class Draw:
    """A logits processor that leaves only the drawn token finite, so that greedy decoding chooses it.

    Args:
        uniform_BT: A number for each token that an answer may have.
        vocabulary: Tokens of the tokenizer; the head's rows past them are never drawn.
        temperature, top_p: As for `pick`.
    """

    def __init__(
        self, uniform_BT: Float[Tensor, "B T"], *, vocabulary: int, temperature: float, top_p: float
    ) -> None:
        self.uniform_BT, self.vocabulary = uniform_BT, vocabulary
        self.temperature, self.top_p, self.step = temperature, top_p, 0

    def __call__(self, _ids: Tensor, scores_BV: Tensor) -> Tensor:
        """The scores of the next step; called once per step."""
        uniform_B = self.uniform_BT[:, self.step].to(scores_BV.device)
        self.step += 1
        token_B = pick(
            scores_BV[:, : self.vocabulary], uniform_B, temperature=self.temperature, top_p=self.top_p
        )
        return torch.full_like(scores_BV, -torch.inf).scatter_(1, token_B[:, None], 0.0)
