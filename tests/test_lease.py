"""Leases: one process works, the next is told who; a dead one's lease is taken over, a live one's is not."""

import os
import re
import subprocess
import sys
import time

import pytest

import fusionchat.lease
from fusionchat.host import this_host
from fusionchat.lease import HeldError, Lease, holder, lease

HOLD = """
import sys
from pathlib import Path
from fusionchat.lease import Lease
mine = Lease(Path(sys.argv[1]))
print(mine.take(), flush=True)
input()
mine.release()
"""
SHORT = 0.2  # seconds


@pytest.fixture
def path(tmp_path):
    return tmp_path / ".lease"


@pytest.fixture
def other(path):
    """Another process that holds the lease until it reads a line."""
    child = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert child.stdout.readline() == "None\n"
    yield child
    child.kill()
    child.communicate()


def elsewhere(path, expires):
    """Write the lease of a process of another host."""
    path.write_text(
        f"filelock/2\npid=7\nhost=a\nmode=lease\ntoken=t\nduration={expires}\nplace=a\nsince=1790000000.5\n"
    )


def test_one_process_holds_it_and_the_other_is_told_who(path, other):
    before = time.monotonic()
    with pytest.raises(HeldError) as error, lease(path):
        pass
    assert time.monotonic() - before < 5  # a process of this host is seen: nothing to wait for
    held = holder(path)
    assert (held.pid, held.host) == (other.pid, this_host()) and abs(time.time() - held.since) < 60
    assert re.search(
        rf"Another process is working on this run \(pid {other.pid} on host {this_host()}, since \d{{4}}-",
        str(error.value),
    )
    assert error.value.holder.pid == other.pid and str(path.parent) in str(error.value)


def test_a_clean_release_leaves_nothing_and_the_next_takes_it(path, other):
    mine = Lease(path)
    assert mine.take().pid == other.pid
    other.communicate("\n")
    assert not path.exists() and holder(path) is None
    assert mine.take() is None and holder(path).pid == os.getpid() and not mine.lost
    mine.release()
    assert list(path.parent.iterdir()) == []
    mine.release()


def test_a_killed_process_s_lease_is_taken_at_once(path, other):
    other.kill()
    other.communicate()
    assert holder(path).pid == other.pid  # a reader removes nothing
    before = time.monotonic()
    with lease(path):
        assert holder(path).pid == os.getpid()
    assert time.monotonic() - before < 5 and not path.exists()


def test_another_host_s_lease_expires_when_nobody_touches_it(path):
    elsewhere(path, SHORT)
    mine, before = Lease(path, expires=SHORT), time.monotonic()
    seen = mine.take()
    assert (seen.pid, seen.host, seen.since) == (7, "a", 1790000000.5)
    said = []
    assert mine.take_or_wait(said.append) is None
    assert SHORT <= time.monotonic() - before < 10 and [one.pid for one in said] == [7]
    assert holder(path).pid == os.getpid()
    mine.release()


def test_another_host_s_lease_that_is_touched_is_held(path, monkeypatch):
    elsewhere(path, SHORT)
    naps = []

    def touched(seconds):
        naps.append(seconds)
        os.utime(path, ns=(0, len(naps)))

    monkeypatch.setattr(fusionchat.lease.time, "sleep", touched)
    assert Lease(path, expires=SHORT).take_or_wait().pid == 7
    assert len(naps) == 1 and holder(path).pid == 7


def test_a_day_later_on_the_other_host_s_clock_is_no_sign_of_death(path):
    elsewhere(path, 60.0)
    os.utime(path, (0, 0))
    assert Lease(path).take().pid == 7 and holder(path).pid == 7


def test_the_thread_keeps_it_alive_past_its_time(path):
    with lease(path, expires=SHORT) as mine:
        first = holder(path)
        contender = Lease(path, expires=SHORT)
        until = time.monotonic() + 3 * SHORT
        while time.monotonic() < until:
            assert contender.take().pid == os.getpid()
            time.sleep(SHORT / 10)
        assert holder(path).touched > first.touched and not mine.lost


def test_a_holder_learns_that_it_lost_the_lease(path):
    with lease(path, expires=SHORT) as mine:
        elsewhere(path.with_name("other"), SHORT)
        path.with_name("other").replace(path)
        until = time.monotonic() + 20 * SHORT
        while not mine.lost and time.monotonic() < until:
            time.sleep(SHORT / 10)
        assert mine.lost
    assert holder(path).pid == 7  # the successor's lease is not released with ours


def test_a_process_that_is_forked_does_not_let_go(path):
    with lease(path):
        child = os.fork()
        if child == 0:
            os._exit(0)
        os.waitpid(child, 0)
        assert holder(path).pid == os.getpid()


def test_a_file_that_names_nobody_is_held_and_the_message_says_what_to_do(path):
    path.touch()
    with (
        pytest.raises(HeldError, match=r"(?s)\(unknown\).*\.lease.*remove this file"),
        lease(path, expires=SHORT),
    ):
        pass


def test_a_lease_of_another_duration_is_held(path):
    elsewhere(path, 17.0)
    assert Lease(path).take().pid == 7


def test_it_is_released_when_it_cannot_be_signed(path, monkeypatch):
    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(fusionchat.lease.os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        Lease(path).take()
    assert not path.exists()
