"""oneDNN's linear maps: right ones, and only where all is float32 in host memory."""

import pytest
import torch
from torch import nn

from fusionchat.models import onednn
from fusionchat.models.onednn import LinearMaps, is_faster, linear

needs_onednn = pytest.mark.skipif(
    not hasattr(torch.ops.mkldnn, "_linear_pointwise"), reason="this PyTorch has no oneDNN"
)


@needs_onednn
@pytest.mark.parametrize("shape", [(3, 40), (2, 5, 40)])
@pytest.mark.parametrize("bias", [True, False])
def test_a_linear_map_is_in_full_precision(shape, bias):
    """Inputs that bfloat16 or TF32 would round: against float64."""
    torch.manual_seed(0)
    x, weight, b = torch.randn(shape), torch.randn(7, 40), torch.randn(7) if bias else None
    exact = nn.functional.linear(x.double(), weight.double(), None if b is None else b.double())
    with torch.no_grad():
        torch.testing.assert_close(linear(x, weight, b).double(), exact, rtol=1e-5, atol=2e-5)


@needs_onednn
def test_float32_maps_are_made_by_it_and_others_are_not(monkeypatch):
    made = []
    monkeypatch.setattr(onednn, "linear", lambda *given: made.append(given) or linear(*given))
    x, layer = torch.randn(3, 8), nn.Linear(8, 5)
    usual = layer(x)
    with torch.no_grad(), LinearMaps():
        assert torch.allclose(layer(x), usual, atol=1e-5) and len(made) == 1
        assert torch.allclose(nn.functional.linear(x, weight=layer.weight), usual - layer.bias, atol=1e-5)
        half = layer.bfloat16()(x.bfloat16())
        assert half.dtype == torch.bfloat16 and layer(x.bfloat16()[:0]).shape == (0, 5)
    with LinearMaps():
        assert nn.Linear(8, 5)(x).requires_grad  # a gradient needs PyTorch's own
    assert len(made) == 2


@pytest.mark.parametrize(
    ("bf16", "amx", "faster"), [(True, False, True), (True, True, False), (False, False, False)]
)
@needs_onednn
def test_it_is_faster_on_processors_without_amx(monkeypatch, bf16, amx, faster):
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: bf16, raising=False)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx, raising=False)
    is_faster.cache_clear()
    try:
        assert is_faster() == faster
    finally:
        is_faster.cache_clear()
