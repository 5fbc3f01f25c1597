"""From hidden states to logits, whole and in tiles."""

import numpy as np
import pytest
import torch

from fusionchat.models import logits as module
from fusionchat.models.logits import PLAIN, HeadShape, operand, product, tiles, wide

X = torch.tensor([[1.0, -2.0, 3.0]])


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        (PLAIN, [1, -2, 3]),
        (HeadShape(scale=0.5), [0.5, -1, 1.5]),
        (HeadShape(softcap=2.0), [2 * np.tanh(0.5), -2 * np.tanh(1), 2 * np.tanh(1.5)]),
        (HeadShape(scale=2.0, softcap=4.0), [4 * np.tanh(0.5), -4 * np.tanh(1), 4 * np.tanh(1.5)]),
    ],
)
def test_a_head_s_shape_by_hand(shape, expected):
    shaped = shape.apply(X)
    np.testing.assert_allclose(shaped.numpy()[0], expected, rtol=1e-6)
    assert torch.equal(shape.apply_(X.clone()), shaped)


@pytest.mark.parametrize(
    "shape", [PLAIN, HeadShape(scale=0.5), HeadShape(softcap=2.0), HeadShape(scale=2.0, softcap=4.0)]
)
def test_the_slope_is_the_derivative(shape):
    x = X.double().requires_grad_()
    z = shape.apply(x)
    (gradient,) = torch.autograd.grad(z.sum(), x)
    slope = shape.slope(z.detach())
    torch.testing.assert_close(torch.ones_like(x) * (1.0 if slope is None else slope), gradient)
    assert (slope is None) == (shape == PLAIN)


def test_sums_are_fp32_and_for_fp64_fp64():
    assert [wide(kind) for kind in (torch.bfloat16, torch.float16, torch.float32)] == [torch.float32] * 3
    assert wide(torch.float64) == torch.float64


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float32, torch.float64])
def test_products_are_those_of_the_rounded_inputs_in_full_precision(kind):
    """Inputs as the model has them, the result not rounded to them: against float64 on the same values."""
    torch.manual_seed(0)
    hidden, weight = torch.randn(5, 64).to(kind), torch.randn(7, 64).to(kind)
    made = product(hidden, operand(weight, kind))
    assert made.dtype == wide(kind)
    expected = hidden.double() @ weight.double().T
    torch.testing.assert_close(made.double(), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float32])
@pytest.mark.parametrize(("rows", "vocabulary"), [(1, 5), (7, 40), (3, 33)])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("by_onednn", [True, False])
def test_tiles_put_together_are_the_logits(monkeypatch, kind, rows, vocabulary, bias, by_onednn):
    if by_onednn and not hasattr(torch.ops.mkldnn, "_linear_pointwise"):
        pytest.skip("this PyTorch has no oneDNN")
    monkeypatch.setattr(module, "TILE_TOKENS", 16)
    monkeypatch.setattr(module, "TILE_ROWS", 3)
    torch.manual_seed(0)
    hidden, weight = torch.randn(rows, 8).to(kind), torch.randn(vocabulary, 8).to(kind)
    bias_V = torch.randn(vocabulary).to(kind) if bias else None
    shape, whole, last = HeadShape(softcap=30.0), torch.full((rows, vocabulary), torch.nan), {}
    for row, token, part in tiles(hidden, weight, bias_V, shape, by_onednn):
        whole[row : row + len(part), token : token + part.shape[1]] = part
        assert part.dtype == torch.float32 and token >= last.get(row, 0)  # rising for every row
        assert len(part) <= 3 and part.shape[1] <= 16
        last[row] = token
    expected = hidden.double() @ weight.double().T + (0 if bias_V is None else bias_V.double())
    torch.testing.assert_close(whole.double(), shape.apply(expected), rtol=1e-5, atol=1e-5)


def test_no_rows_have_no_logits():
    assert [tile.logits.numel() for tile in tiles(torch.zeros(0, 4), torch.ones(6, 4), None, PLAIN)] in (
        [],
        [0],
    )


def test_the_precision_of_products_is_put_back(monkeypatch):
    monkeypatch.setattr(module, "cpu_multiplies_bf16", lambda: True)
    before = torch.get_float32_matmul_precision()
    hidden, weight = torch.ones(2, 4).bfloat16(), torch.ones(3, 4).bfloat16()
    found = [tile.logits.clone() for tile in tiles(hidden, weight, None, PLAIN)]
    assert torch.get_float32_matmul_precision() == before and torch.equal(found[0], torch.full((2, 3), 4.0))
