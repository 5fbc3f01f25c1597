# T tokens of a conversation, L padded length, N supervised tokens, K kept tokens
"""Arcee's DistillKit: raw top-k for a teacher of kind dataset.

The columns are ``token_ids`` and ``top_values``, with ``prepacked: true``.

Its loss compares the student's logits at place i with row i of the data, so the distribution for token j is
in row j - 1. It skips the places whose *label* is negative, at the same i, while the loss of the labels is of
the next token. So a turn's labels begin one token early, at the token before its first supervised one. A row
without a distribution (after a turn's last token, or of a token that was not aligned) has the token itself
with probability 1, as its label does. Sequences are padded to one length, because its collator stacks them.
"""

from typing import Any

import numpy as np
import pyarrow as pa
from jaxtyping import Bool, Float, Int

from fusionchat.represent.export.base import About, Example

IGNORED = -100
"""The label of a token without a loss."""
NOTHING = -60.0
"""The log-probability of an empty slot.

It has to be finite: DistillKit multiplies by its mask, and 0 * inf is NaN.
"""
LEFT = 1e-6
"""The least mass that is left to other tokens.

DistillKit takes the logarithm of 1 - mass, which is not finite at 1.
"""
CONFIG = """# For DistillKit, in this folder: `distillkit config.yaml`. Set model, rates and steps to your needs.
project_name: fusionchat
model: {model}
output_path: ./distilled
sequence_length: {length}
dataset:
  train_dataset:
    repo_id: .
    split: train
  prepacked: true
teacher:
  kind: dataset
  logprob_compressor:
    d: {vocabulary}
    k: {k}
    exact_k: {k}
    exact_dtype: float32
    residual_bins: []
    delta_encoding: false
loss_functions:
  - function: cross_entropy
    weight: 0.5
  - function: kl
    weight: 0.5
    temperature: 1.0
    missing_probability_handling: symmetric_uniform
training_args:
  num_train_epochs: 1
  per_device_train_batch_size: 1
  learning_rate: 2.0e-6
  remove_unused_columns: false
"""


class DistillKit:
    """Padded sequences with k tokens and log-probabilities at each place."""

    def schema(self, about: About) -> pa.Schema:
        """The columns that DistillKit's trainer and compressor read."""
        return pa.schema(
            {
                "input_ids": pa.list_(pa.int32()),
                "attention_mask": pa.list_(pa.int8()),
                "labels": pa.list_(pa.int32()),
                "token_ids": pa.list_(pa.list_(pa.int32())),
                "top_values": pa.list_(pa.list_(pa.float32())),
            }
        )

    def record(self, example: Example, about: About) -> dict[str, Any]:
        """An example as a padded sequence."""
        length, size = about.longest, len(example.input_ids)
        tokens_L = np.full(length, about.pad, np.int32)
        tokens_L[:size] = example.input_ids
        ids_LK, values_LK = targets(tokens_L, size, example, about)
        learned_L = np.zeros(length, bool)
        learned_L[example.rows] = True  # for the labels' loss
        learned_L[example.rows - 1] = True  # for the distributions'
        return {
            "input_ids": tokens_L,
            "attention_mask": (np.arange(length) < size).astype(np.int8),
            "labels": np.where(learned_L, tokens_L, IGNORED),
            "token_ids": list(ids_LK),
            "top_values": list(values_LK),
        }

    def notes(self, about: About) -> dict[str, str]:
        """A configuration of DistillKit for the data."""
        return {
            "config.yaml": CONFIG.format(
                model=about.model, length=about.longest, vocabulary=about.vocabulary, k=about.k
            )
        }


def targets(
    tokens_L: Int[np.ndarray, " L"], size: int, example: Example, about: About
) -> tuple[Int[np.ndarray, "L K"], Float[np.ndarray, "L K"]]:
    """Ids and log-probabilities for the token after each place.

    They are the example's distribution, else the next token with probability 1.

    Args:
        tokens_L: The padded sequence.
        size: Tokens that are not padding.
        example: Its distributions.
        about: k, and what ends a text.
    """
    length, k = len(tokens_L), about.k
    # 1. The next token, everywhere.
    ids_LK = np.zeros((length, k), np.int32)
    held_LK = np.zeros((length, k), bool)
    values_LK = np.full((length, k), NOTHING, np.float32)
    ids_LK[: length - 1, 0] = tokens_L[1:]
    ids_LK[size - 1 :, 0] = about.end
    held_LK[:, 0], values_LK[:, 0] = True, 0.0
    # 2. The distribution for token j, in row j - 1.
    topk, own = example.topk, example.topk.k
    at_N = example.rows[topk.present] - 1
    held_NK = np.isfinite(topk.logprobs[topk.present])
    held_LK[at_N, :own], held_LK[at_N, own:] = held_NK, False
    ids_LK[at_N, :own] = topk.ids[topk.present]
    values_LK[at_N] = NOTHING
    values_LK[at_N, :own] = np.where(held_NK, topk.logprobs[topk.present], NOTHING)
    # 3. Leave some mass to other tokens.
    mass_L = np.exp(values_LK.astype(np.float64)).sum(axis=1)
    values_LK -= np.maximum(np.log(mass_L) - np.log1p(-LEFT), 0.0)[:, None].astype(np.float32)
    # 4. Ids for empty slots.
    return fill(ids_LK, held_LK, about.vocabulary), values_LK


def fill(
    ids_LK: Int[np.ndarray, "L K"], held_LK: Bool[np.ndarray, "L K"], vocabulary: int
) -> Int[np.ndarray, "L K"]:
    """The ids, where a row's empty slots get the last ids of the vocabulary that it does not have.

    No id may be in a row twice, because DistillKit adds up the student's probabilities of a row's ids.
    """
    k = ids_LK.shape[1]
    last_M = np.arange(vocabulary - 1, max(vocabulary - 1 - 2 * k, -1), -1, dtype=np.int32)
    filled = ids_LK.copy()
    for row in np.flatnonzero(~held_LK.all(axis=1)):
        empty = ~held_LK[row]
        free = last_M[~np.isin(last_M, ids_LK[row][~empty])]
        filled[row, empty] = free[: empty.sum()]
    return filled
