"""The memory of the machine, and of a container on it."""

import math
from types import SimpleNamespace

import pytest

from fusionchat import machine_memory
from fusionchat.machine_memory import available, limited, total


def group(folder, files):
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


@pytest.mark.parametrize(
    ("files", "found"),
    [
        ({}, (math.inf, 0)),
        ({"memory.max": "max\n", "memory.current": "7\n"}, (math.inf, 0)),
        ({"memory.max": "900\n", "memory.current": "700\n"}, (900, 700)),
        (
            {
                "memory.max": "900\n",
                "memory.current": "700\n",
                "memory.stat": "anon 400\ninactive_file 250\n",
            },
            (900, 450),
        ),
        ({"memory/memory.limit_in_bytes": "900\n", "memory/memory.usage_in_bytes": "100\n"}, (900, 100)),
    ],
)
def test_what_a_container_may_use_and_uses(tmp_path, files, found):
    assert limited(group(tmp_path, files)) == found


@pytest.mark.parametrize(
    ("limit", "all_of_it", "free"),
    [
        ((math.inf, 0.0), 1000, 600),
        ((500.0, 100.0), 500, 400),
        ((2000.0, 100.0), 1000, 600),
        ((500.0, 501.0), 500, 0),
    ],
)
def test_the_machines_or_the_containers_whichever_is_less(monkeypatch, limit, all_of_it, free):
    monkeypatch.setattr("psutil.virtual_memory", lambda: SimpleNamespace(total=1000, available=600))
    monkeypatch.setattr(machine_memory, "limited", lambda: limit)
    assert (total(), available()) == (all_of_it, free)
