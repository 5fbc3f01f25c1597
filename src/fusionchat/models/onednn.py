# N rows, I inputs, O outputs of a linear map
"""float32 linear maps by oneDNN instead of MKL, where MKL uses only half the processor's speed. PURE.

PyTorch uses MKL for float32 products on x86, which uses AVX2 at most on processors of other makers than
Intel. oneDNN, which PyTorch uses for other dtypes, uses AVX-512 on all of them. Measured on an AMD EPYC of
family 26, one core, 4,096 x 576 by 576 x 1,536: MKL 104 Gflop/s, oneDNN 226; a body of SmolLM2's shape takes
0.55 of the time.

Products and sums are float32 in both, but in a different order.
"""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode


@cache
def is_faster() -> bool:
    """Whether this CPU is one of those: it has AVX-512 BF16 (AMD since Zen 4) but no AMX.

    Intel's processors with AVX-512 BF16 have AMX too, except for one. False where PyTorch lacks the
    operation.
    """
    bf16 = getattr(torch.cpu, "_is_avx512_bf16_supported", bool)()
    return bool(bf16) and not has_amx() and hasattr(torch.ops.mkldnn, "_linear_pointwise")


def has_amx() -> bool:
    """Whether this CPU has AMX, by which oneDNN multiplies bf16."""
    return bool(getattr(torch.cpu, "_is_amx_tile_supported", bool)())


def linear(
    x_NI: Float[Tensor, "*N I"], weight_OI: Float[Tensor, "O I"], bias_O: Float[Tensor, " O"] | None = None
) -> Float[Tensor, "*N O"]:
    """x W^T + b by oneDNN; no gradient flows through."""
    made: Tensor = torch.ops.mkldnn._linear_pointwise(x_NI, weight_OI, bias_O, "none", [], "")
    return made


class LinearMaps(TorchFunctionMode):
    """A context in which this thread's float32 linear maps on a CPU use oneDNN."""

    def __torch_function__(
        self,
        function: Any,
        kinds: Sequence[type],
        arguments: tuple[Any, ...] = (),
        keywords: Mapping[str, Any] | None = None,
    ) -> Any:
        """See `TorchFunctionMode`."""
        keywords = keywords or {}
        if function is nn.functional.linear:
            given = _named(*arguments, **keywords)
            if _are_plain(given):
                return linear(*given)
        return function(*arguments, **keywords)


def _named(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> tuple[Tensor, ...]:
    """The arguments of PyTorch's `linear` in their order, without a bias that is None."""
    return (input, weight) if bias is None else (input, weight, bias)


def _are_plain(given: Sequence[Tensor]) -> bool:
    """Whether all are ordinary float32 tensors in host memory, and no gradient is needed."""
    return (
        all(type(x) in (Tensor, nn.Parameter) and x.dtype == torch.float32 for x in given)
        and all(x.device.type == "cpu" for x in given)
        and given[0].numel() > 0
        and not torch.is_grad_enabled()
    )
