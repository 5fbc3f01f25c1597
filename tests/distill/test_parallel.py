"""Processes that share a training meet and part; what they do in between is in test_ranks.py."""

import socket

import pytest
import torch
import torch.distributed as dist

from fusionchat.distill.parallel import join, part, unreachable, wait_for_all
from fusionchat.errors import MachineError

CPU = torch.device("cpu")


def test_alone_there_is_nobody_to_meet(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    join(CPU)
    wait_for_all()
    part()
    assert not dist.is_initialized()


def test_a_port_in_use_is_said(monkeypatch):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        for name, value in {
            "RANK": "0",
            "WORLD_SIZE": "2",
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": port,
        }.items():
            monkeypatch.setenv(name, value)
        with pytest.raises(MachineError) as caught:
            join(CPU)
    assert caught.value.where == f"127.0.0.1:{port}" and "MASTER_PORT" in caught.value.do
    assert "EADDRINUSE" in caught.value.what


def test_the_first_line_of_an_error_is_enough():
    assert unreachable(ValueError("a\nb")).what == "The training processes cannot connect: a"
