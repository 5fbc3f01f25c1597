"""The products of the loss: chunks that fit, half-precision logits made exact where it matters, sums in fp32."""

import pytest
import torch

from fusionchat.distill.products import (
    add_head_gradient,
    block_rows,
    default_rows,
    exact_logits,
    in_place,
    raw_logits,
)

CPU, GPU = torch.device("cpu"), torch.device("cuda")


def test_a_chunk_is_large_on_a_gpu_and_bounded_on_a_cpu():
    assert default_rows(152_000, torch.bfloat16, GPU) == 441
    assert default_rows(2**40, torch.bfloat16, GPU) == default_rows(2**40, torch.float32, CPU) == 1
    assert default_rows(32_000, torch.float32, CPU) == 48 * 2**20 // 128_000
    assert default_rows(152_000, torch.float32, CPU) == 96 * 2**20 // 608_000
    assert default_rows(152_000, torch.bfloat16, CPU) == 256
    assert default_rows(32_001, torch.bfloat16, CPU) == 512  # 32 MiB are 524 rows
    assert default_rows(49_152, torch.bfloat16, CPU) == 320
    assert default_rows(2**20, torch.bfloat16, CPU) == 48 and default_rows(2**19, torch.bfloat16, CPU) == 64


def test_a_block_has_a_row_for_each_thread(monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 4)
    assert block_rows(2**15, CPU) == 32 and block_rows(2**20, CPU) == 4
    assert block_rows(2**15, GPU) >= default_rows(2**15, torch.float32, GPU)


def test_a_gradient_takes_the_place_of_logits_of_its_dtype():
    assert in_place(torch.float32, GPU) and in_place(torch.bfloat16, CPU)
    assert not in_place(torch.bfloat16, GPU)


def test_a_few_logits_are_exact_where_all_are_rounded():
    hidden, head = (
        torch.tensor([[4.0, 0.03125]]).bfloat16(),
        torch.tensor([[4.0, 1.0], [1.0, 1.0]]).bfloat16(),
    )
    buffer = torch.empty(3, 2, dtype=torch.bfloat16)
    raw = raw_logits(hidden, head, buffer)
    assert raw.data_ptr() == buffer.data_ptr() and raw[0].tolist() == [16.0, 4.03125]
    assert exact_logits(hidden, head, torch.tensor([[1, 0]])).tolist() == [[4.03125, 16.03125]]
    assert raw_logits(hidden.float(), head.float(), None).tolist() == [[16.03125, 4.03125]]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_heads_gradient_adds_up_in_fp32_tile_by_tile(dtype, monkeypatch):
    monkeypatch.setattr("fusionchat.distill.products.TILE", 2)
    gradient = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], dtype=dtype)
    hidden = torch.tensor([[1.0], [10.0]], dtype=dtype)
    total = torch.full((3, 1), torch.nan)
    add_head_gradient(total, gradient, hidden, first=True)
    assert total.dtype == torch.float32 and total.flatten().tolist() == [41, 52, 63]
    add_head_gradient(total, gradient * 2**-9, hidden, first=False)
    assert total.flatten().tolist() == [41 * (1 + 2**-9), 52 * (1 + 2**-9), 63 * (1 + 2**-9)]
