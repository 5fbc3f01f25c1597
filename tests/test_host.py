"""Which processes are there."""

import os
import re
import subprocess
import sys
from pathlib import Path

from fusionchat import host


def test_the_host_s_name_fits_between_the_dots_of_a_file_name():
    assert re.fullmatch(r"[A-Za-z0-9_-]+", host.this_host())


def test_hosts_with_dots_and_containers_have_names_of_their_own(monkeypatch):
    monkeypatch.setattr(host.socket, "gethostname", lambda: "node1.cluster")
    bare = host.this_host.__wrapped__()
    assert bare.startswith("node1_cluster")
    monkeypatch.setattr(host, "INITIAL_PIDS", Path("/proc/self/ns/pid").stat().st_ino)
    assert host.this_host.__wrapped__() == "node1_cluster"
    monkeypatch.setattr(host, "INITIAL_PIDS", 0)
    assert re.fullmatch(r"node1_cluster_[0-9a-f]+", host.this_host.__wrapped__())


def test_a_process_runs_until_it_ends():
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    assert host.is_running(child.pid) and host.is_running(os.getpid()) and host.is_running(1)
    child.communicate(b"\n")
    assert not host.is_running(child.pid)
