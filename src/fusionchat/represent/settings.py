"""Settings of the capture."""

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
