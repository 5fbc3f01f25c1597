"""Settings of the capture."""

from typing import Literal

from pydantic import Field, field_validator

from fusionchat.settings import AnyDtype, Frozen


class RepresentSettings(Frozen):
    """What is stored of each distribution."""

    k: int = Field(10, ge=1, le=1024, description="tokens kept of each distribution")
    dtype: AnyDtype = Field(
        "auto",
        description="dtype that models are scored in; auto is bfloat16 on a GPU that supports it, and on a CPU that "
        "multiplies it (AMX, AVX-512 BF16) unless every model has under 20 million parameters; otherwise float32. "
        "Chosen when the run is first started, and then kept",
    )
    batch_tokens: Literal["auto"] | int = Field(
        "auto",
        description="padded tokens in one forward pass of a capture; a longer conversation is its own batch. "
        "auto is 2048 on a CPU and 16384 on a GPU, chosen when the run is first started, and then kept. "
        "After an out-of-memory error a shard is retried with half",
    )

    @field_validator("batch_tokens", mode="before")
    @classmethod
    def _batch_tokens(cls, value: object) -> object:
        is_count = isinstance(value, int) and not isinstance(value, bool) and value >= 1
        if value != "auto" and not is_count:
            raise ValueError(f"must be auto or a whole number of at least 1, not {value!r}")
        return value

    logprobs: Literal["float16", "uint8"] = Field(
        "float16",
        description="format of the stored log-probabilities; uint8 takes half the space and differs from float16 by a "
        "divergence of about 4e-5 nats per token (docs/results/store.md; encoding: docs/formats.md). Alignments and fusions "
        "follow the pivot's",
    )
    compression: Literal["none", "zstd"] = Field(
        "none",
        description="compression of captures, alignments and fusions; with uint8, zstd makes them a third smaller and slower "
        "to read",
    )
