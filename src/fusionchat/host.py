"""The host that this process runs on, and whether another process of that host still exists."""

import os
import re
import socket
from functools import cache
from pathlib import Path

INITIAL_PIDS = 0xEFFFFFFC  # PROC_PID_INIT_INO in Linux's linux/proc_ns.h: the processes of the machine itself


@cache
def this_host() -> str:
    """The host's name for file names; in a container with its process namespace.

    Processes with the same name can look up each other's pids. Two containers of one machine often share the
    host's name but never the pids; a restarted container has different pids.
    """
    name = re.sub(r"[^A-Za-z0-9-]", "_", socket.gethostname()) or "host"
    try:
        pids = Path("/proc/self/ns/pid").stat().st_ino
    except OSError:
        return name
    return name if pids == INITIAL_PIDS else f"{name}_{pids:x}"


def is_running(pid: int) -> bool:
    """Whether this host has a process with this number, whoever owns it."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True
