"""After an out-of-memory error the same is made with smaller batches; every other error is passed on."""

import pytest
import torch

from fusionchat.errors import MachineError
from fusionchat.represent.out_of_memory import is_out_of_memory, with_less


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError(
            "[enforce fail at alloc_cpu.cpp:121] DefaultCPUAllocator: can't allocate memory: you tried"
        ),
    ],
)
def test_it_is_made_with_half_until_it_fits(error, capsys):
    tried = []

    def make(batch_tokens):
        tried.append(batch_tokens)
        if batch_tokens > 600:
            raise error
        return "made"

    assert with_less(make, 4096, least=10, label="represent qwen") == ("made", 3)
    assert tried == [4096, 2048, 1024, 512]
    said = capsys.readouterr().err
    assert said.count("represent qwen: out of memory") == 3
    assert "tried again with 512 padded tokens in one forward pass" in said


def test_one_conversation_at_a_time_is_the_least():
    tried = []

    def make(batch_tokens):
        tried.append(batch_tokens)
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 99 bytes")

    with pytest.raises(
        MachineError, match=r"one conversation at a time: .*you tried to allocate 99"
    ) as caught:
        with_less(make, 100, least=30, label="represent qwen")
    assert tried == [100, 50, 30] and caught.value.where == "represent qwen" and caught.value.exit_code == 3


def test_other_errors_are_passed_on_at_once():
    def make(_):
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="shapes"):
        with_less(make, 100, least=1, label="x")
    assert not is_out_of_memory(ValueError("out of memory"))
    assert with_less(lambda n: n, 7, least=9, label="x") == (7, 0)
