# M models, U units
"""MinCE: the model with the least cross-entropy wins. PURE."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float

from fusionchat.fuse.rules.base import Rule, take_least


@dataclass(frozen=True)
class MinCE(Rule):
    """The distribution of the model with the least cross-entropy.

    This is MinCE of arXiv 2402.16107v6, section 3.2.

    Attributes:
        per: What is compared and taken as one: the whole conversation (the paper), a turn, or a token; over
            the text that all models score.
        unit: ``bits_per_byte`` compares what tokenizers cannot change; ``nats_per_token`` is the paper's
            and favours finer tokenizers.
    """

    method: Literal["min_ce"] = "min_ce"

    def weights(self, ce_MU: Float[np.ndarray, "M U"]) -> Float[np.ndarray, "M U"]:
        """1 for the model with the least score, 0 for the others; ties go to the first, the pivot."""
        return take_least(ce_MU)
