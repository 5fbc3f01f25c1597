"""The last line of the cluster benchmark from the steps that were taken, and which kills are made."""

import time
from contextlib import nullcontext

import pytest

pytest.importorskip("ray", reason="the extra `ray` is not installed")

from benchmarks.cluster import figures
from benchmarks.cluster_kills import KINDS, Kill, beside, kill_round, tried
from benchmarks.steps import Steps

from benchmarks import cluster_kills
from fusionchat.errors import MachineError

HIT, MISSED, LOST = Kill(True, True, 1, 2), Kill(False, True, 0, 1), Kill(True, False, 0, 0)
SPEEDS = {"local_s": 5.0, "ray": {"ray_s": 20.0, "same_bits": True}, "speedups": [1.894, 2.001]}


def kills(times, kind=HIT):
    return {f"kill/{number}/{name}": [list(kind)] for number in range(times) for name in KINDS}


def test_the_last_line_has_all_figures():
    found = figures(SPEEDS | kills(1) | {"kill/0/merge": [MISSED, HIT]}, 1)
    assert found == {
        "same_bits": True, "ray_overhead_s": 15.0, "ray_overhead_share": 3.0, "speedup_2_workers": 1.89,
        "bare_speedup_2": 2.0, "kills": {"made": 8, "survived": 8}, "shards_redone": 8, "complete": True,
    }  # fmt: skip
    assert not figures(SPEEDS | kills(1), 3)["complete"]


def test_a_run_that_a_kill_ends_or_changes_is_seen():
    found = figures(SPEEDS | kills(2) | {"kill/1/align": [LOST]}, 2)
    assert (found["same_bits"], found["kills"]) == (False, {"made": 16, "survived": 15})


def test_what_is_not_measured_is_null():
    nothing = figures({}, 1)
    assert (nothing["same_bits"], nothing["ray_overhead_s"], nothing["speedup_2_workers"]) == (
        None,
        None,
        None,
    )
    assert nothing["kills"] == {"made": 0, "survived": 0} and not nothing["complete"]


def test_a_kill_is_tried_until_it_has_cost_work_and_an_error_is_no_survival():
    left, said = [MISSED, MISSED, HIT], []
    assert tried("a", "align", lambda name: left.pop(0), said.append) == [MISSED, MISSED, HIT]
    assert [line["hit"] for line in said] == [False, False, True]

    def fail(name):
        raise MachineError("no room", where=name)

    assert tried("a", "align", fail, said.append) == [LOST] and "no room" in said[3]["error"]
    assert tried("a", "align", lambda name: MISSED, said.append) == [MISSED] * cluster_kills.TRIES


def test_a_round_leaves_out_what_is_kept_and_ends_with_its_time(tmp_path, monkeypatch):
    made = []
    for name in ("cluster", "joined"):
        monkeypatch.setattr(cluster_kills, name, lambda *_, **__: nullcontext())
    monkeypatch.setattr(cluster_kills, "recipe", lambda *_, **__: cluster_kills)
    monkeypatch.setattr(cluster_kills, "runtime", cluster_kills, raising=False)
    monkeypatch.setattr(cluster_kills, "ray", None, raising=False)
    monkeypatch.setattr(
        cluster_kills, "killer_of", lambda kind, *_, **__: lambda name: made.append(name) or HIT
    )
    steps = Steps(tmp_path / "steps.jsonl")
    steps.step("kill/0/align", lambda: [HIT])
    kill_round(steps, 0, tmp_path, lambda line: None, whole=False)
    assert made == [f"{kind}-0-0" for kind in KINDS if kind != "align"]
    assert steps.held.keys() == {f"kill/0/{kind}" for kind in KINDS}
    kill_round(steps, 1, tmp_path, lambda line: None, whole=False, until=time.monotonic() - 1)
    assert len(made) == len(KINDS) - 1


def test_what_runs_beside_says_how_it_ended():
    assert beside(lambda: 5).result(timeout=5) == 5
    with pytest.raises(ZeroDivisionError):
        beside(lambda: 1 / 0).result(timeout=5)
