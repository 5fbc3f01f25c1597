"""Processes that somebody else has started: rank 0 leads, the others follow it through a store."""

import multiprocessing
import os
import socket
from pathlib import Path

import pytest

from fusionchat.errors import FusionChatError, RecipeError
from fusionchat.run.job import Job
from fusionchat.run.world import World, follow, leading, require_fitting, summon, world_here
from fusionchat.runtime import RuntimeSettings
from fusionchat.settings import Frozen

JOB = Job(stage="toy", name="a", version=1, settings=Frozen())
TORCHRUN = {
    "WORLD_SIZE": "8", "RANK": "5", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "4", "MASTER_ADDR": "h", "MASTER_PORT": "1",
}  # fmt: skip


def test_the_world_by_the_variables_of_torchrun():
    assert world_here({}) == world_here({"WORLD_SIZE": "1"}) == world_here({"WORLD_SIZE": ""}) == World()
    assert world_here(TORCHRUN) == World(5, 8, 1, 4)
    del_local = {name: value for name, value in TORCHRUN.items() if not name.startswith("LOCAL")}
    assert world_here(del_local) == World(5, 8, 5, 8)
    with pytest.raises(RecipeError, match="WORLD_SIZE is 2, but RANK and MASTER_ADDR are not set"):
        world_here({"WORLD_SIZE": "2", "MASTER_PORT": "1"})


@pytest.mark.parametrize(
    ("settings", "environment", "says"),
    [({"training": {"processes": 3}}, {}, "asks for 3 processes, but 2 were started"), ({"workers": 2}, {}, "Workers cannot"),
     ({}, {"ACCELERATE_USE_FSDP": "true"}, "wrap the model a second time"), ({}, {"ACCELERATE_USE_DEEPSPEED": "True"}, "is set")],
)  # fmt: skip
def test_settings_that_do_not_fit_the_processes(settings, environment, says):
    require_fitting(RuntimeSettings(), World(0, 2), {"ACCELERATE_USE_FSDP": "false"})
    require_fitting(RuntimeSettings(training={"processes": 2}), World(0, 2), {})
    with pytest.raises(RecipeError, match=says):
        require_fitting(RuntimeSettings(**settings), World(0, 2), environment)


def test_alone_nobody_follows(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with leading(RuntimeSettings(workers=2)):
        pass


def lead(folder):
    """Two runs, the second of which fails."""
    runtime = RuntimeSettings()
    with leading(runtime):
        summon(folder, JOB)
        summon(folder, JOB)
    with pytest.raises(KeyError), leading(runtime):
        raise KeyError


def trail(folder):
    made = []
    follow(lambda *order: made.append(order))
    assert made == [(folder, JOB.id, JOB.fingerprint)] * 2
    with pytest.raises(FusionChatError, match="Rank 0 has stopped"):
        follow(lambda *_: None)


def process(rank: int, port: int, folder: Path) -> None:
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    (trail if rank else lead)(folder)


def test_rank_1_makes_what_rank_0_summons_it_to(tmp_path):
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__, "torch"])
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    ranks = [context.Process(target=process, args=(rank, port, tmp_path)) for rank in (1, 0)]
    for one in ranks:
        one.start()
    try:
        for one in ranks:
            one.join(60)
        assert [one.exitcode for one in ranks] == [0, 0]
    finally:
        for one in ranks:
            one.kill()


def test_a_port_in_use_is_said(tmp_path, monkeypatch):
    from fusionchat.errors import MachineError

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        for name, value in {
            "RANK": "0",
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(taken.getsockname()[1]),
        }.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("WORLD_SIZE", "2")
        with pytest.raises(MachineError, match="cannot connect") as caught:
            summon(tmp_path, JOB)
    assert "MASTER_PORT" in caught.value.do
