"""Settings of merges: any method, how the fused model is stored, and what a search tries."""

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from fusionchat.merge.methods import MergeMethod
from fusionchat.settings import Frozen, method_from_name

AnyMerge = Annotated[MergeMethod, Field(discriminator="method"), BeforeValidator(method_from_name)]


class FusedSettings(Frozen):
    """How the fused model is stored."""

    dtype: Literal["float32", "bfloat16", "float16"] = Field(
        "bfloat16", description="dtype of the stored weights"
    )
    shard_gb: float = Field(5.0, gt=0)


class SearchSettings(Frozen):
    """Other merges of the same targets, tried on the validation part; the best is the fused model."""

    candidates: tuple[AnyMerge, ...] = Field((), description="merges to try; empty for a list of likely ones")
    metric: str = Field(
        "bits_per_byte",
        description="metric that trials are compared by, of any task that is on, such as exact_match with `evaluate.exact_match`",
    )
    minutes: float | None = Field(
        None, gt=0, description="start no trial after this many minutes; unset: no limit"
    )
