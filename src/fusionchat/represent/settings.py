"""Settings of the capture."""

from typing import Literal

from pydantic import Field

from fusionchat.settings import AnyDtype, Frozen


class RepresentSettings(Frozen):
    """What is stored of each distribution."""

    k: int = Field(10, ge=1, le=1024, description="tokens kept of each distribution")
    dtype: AnyDtype = Field(
        "auto",
        description="dtype models are scored in; auto is float32 on CPU and bfloat16 on a GPU that has it, "
        "chosen when the run is first started and kept",
    )
    logprobs: Literal["float16", "uint8"] = Field(
        "float16",
        description="how log-probabilities are kept; uint8 takes half the space and differs from float16 by a divergence of "
        "about 4e-5 nats a token (docs/formats.md). Alignments and fusions follow the pivot's",
    )
    compression: Literal["none", "zstd"] = Field(
        "none",
        description="of the blocks of captures, alignments and fusions; with uint8, zstd makes them a third smaller and slower "
        "to read",
    )
