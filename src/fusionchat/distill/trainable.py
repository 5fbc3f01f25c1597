"""What is trained of the pivot: all its parameters, or low-rank factors beside them."""

from typing import Annotated, ClassVar, Literal

from pydantic import BeforeValidator, Discriminator, Field, Tag

from fusionchat.models.opening import METHOD
from fusionchat.settings import Frozen, no_such

FULL: Literal["full"] = "full"
TAGS = {"full": "all parameters", "lora": "LoRA", "qlora": "QLoRA"}
"""The branches' names in pydantic's messages."""


class LoraSettings(Frozen):
    """Factors B and A beside each chosen matrix W, which becomes W + alpha / r * B A (arXiv 2106.09685)."""

    r: int = Field(16, ge=1, description="rank: columns of B and rows of A")
    alpha: float | None = Field(None, gt=0, description="the change is scaled by alpha / r; unset: 2 r")
    dropout: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="dropout on the factors' inputs; above 0 the result depends on "
        "`runtime.micro_batch_tokens` too",
    )
    targets: tuple[str, ...] = Field(
        (), description="names of the linear layers, such as `q_proj`; empty for all but the head"
    )
    modules_to_save: tuple[str, ...] = Field(
        (), description="names of modules that are trained as a whole, such as `embed_tokens`, `lm_head`"
    )

    @property
    def scale(self) -> float:
        """alpha, or its default."""
        return 2.0 * self.r if self.alpha is None else self.alpha


class QloraSettings(LoraSettings):
    """The same factors, beside matrices that are in 4 bits during the training (arXiv 2305.14314)."""

    quant_type: Literal["nf4", "fp4"] = Field("nf4", description="the sixteen values of a quantized weight")
    double_quant: bool = Field(True, description="the scales of the blocks are quantized too")


class Lora(Frozen):
    """Factors are trained, everything else is frozen."""

    lora: LoraSettings = Field(LoraSettings(), description="settings of the factors")
    quantization: ClassVar[None] = None

    @property
    def factors(self) -> LoraSettings:
        """The factors."""
        return self.lora


class Qlora(Frozen):
    """Factors are trained, everything else is frozen, and its linear layers are in 4 bits."""

    qlora: QloraSettings = Field(
        QloraSettings(), description="settings of the factors and of the 4-bit weights"
    )

    @property
    def factors(self) -> LoraSettings:
        """The factors."""
        return self.qlora

    @property
    def quantization(self) -> dict[str, str | bool]:
        """The quantization of the pivot's linear layers, by transformers' names."""
        return {
            METHOD: "bitsandbytes",
            "load_in_4bit": True,
            "bnb_4bit_quant_type": self.qlora.quant_type,
            "bnb_4bit_use_double_quant": self.qlora.double_quant,
        }


def from_word(value: object) -> object:
    """``lora`` is short for ``{lora: {}}``; raises ValueError for another way."""
    if isinstance(value, dict):
        ways = [way for way in TAGS if way != FULL]
        for way in value:
            if way not in ways:
                raise ValueError(no_such("key", str(way), ways))
        if len(value) != 1:
            raise ValueError(f"give one of {', '.join(ways)}")
    if isinstance(value, str) and value not in TAGS:
        raise ValueError(no_such("way to train", value, list(TAGS)))
    return {value: {}} if isinstance(value, str) and value != FULL else value


def branch_of(value: object) -> str:
    """The tag of the branch that a value belongs to."""
    keys = value if isinstance(value, dict) else getattr(type(value), "model_fields", {})
    return TAGS.get(str(next(iter(keys), FULL)), TAGS[FULL])


Trains = Annotated[
    Annotated[Literal["full"], Tag(TAGS["full"])]
    | Annotated[Lora, Tag(TAGS["lora"])]
    | Annotated[Qlora, Tag(TAGS["qlora"])],
    Discriminator(branch_of),
    BeforeValidator(from_word),
]
