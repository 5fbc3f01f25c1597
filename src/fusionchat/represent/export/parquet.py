# T tokens of a conversation, N of them supervised, K kept tokens
"""Plain Parquet, for any trainer: a record for each conversation, with a list of its distributions."""

from typing import Any

import numpy as np
import pyarrow as pa

from fusionchat.represent.export.base import About, Example

README = """# {job}: distributions of FusionChat

One record per conversation, rendered and tokenized for `{model}` ({vocabulary} tokens).

| column | type | meaning |
|---|---|---|
| `id`, `domain` | text | of the conversation |
| `input_ids` | int32 [T] | the whole conversation with its chat template |
| `rows` | int32 [N] | places of the supervised tokens in `input_ids`: distribution i is *for* token `rows[i]` |
| `present` | bool [N] | whether there is a distribution; if not, its list is empty and `tail` is NaN |
| `token_ids` | list of int32 [N, at most {k}] | the most likely tokens, most likely first |
| `logprobs` | list of float32 [N, the same] | their natural log-probabilities, of the whole vocabulary |
| `tail` | float32 [N] | natural log of the probability of all other tokens together |

    from datasets import load_dataset
    data = load_dataset("parquet", data_files="data/*.parquet", split="train")

Fingerprint of the job: {fingerprint}
"""


class Parquet:
    """Lists of tokens and log-probabilities, without padding."""

    def schema(self, about: About) -> pa.Schema:
        """The columns; the written README explains them."""
        return pa.schema(
            {
                "id": pa.string(),
                "domain": pa.string(),
                "input_ids": pa.list_(pa.int32()),
                "rows": pa.list_(pa.int32()),
                "present": pa.list_(pa.bool_()),
                "token_ids": pa.list_(pa.list_(pa.int32())),
                "logprobs": pa.list_(pa.list_(pa.float32())),
                "tail": pa.list_(pa.float32()),
            }
        )

    def record(self, example: Example, about: About) -> dict[str, Any]:
        """An example as lists, without empty slots."""
        topk = example.topk
        kept = np.isfinite(topk.logprobs) & topk.present[:, None]
        pairs = [
            (ids[own], logprobs[own].astype(np.float32))
            for ids, logprobs, own in zip(topk.ids, topk.logprobs, kept, strict=True)
        ]
        return {
            "id": example.id,
            "domain": example.domain,
            "input_ids": example.input_ids,
            "rows": example.rows,
            "present": topk.present,
            "token_ids": [ids for ids, _ in pairs],
            "logprobs": [logprobs for _, logprobs in pairs],
            "tail": np.where(topk.present, topk.tail.astype(np.float32), np.float32(np.nan)),
        }

    def notes(self, about: About) -> dict[str, str]:
        """What the columns mean."""
        return {"README.md": README.format(**vars(about))}
