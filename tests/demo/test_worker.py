"""The process that trains the demo's models."""

import os
import re
import signal
import subprocess
import sys

from fusionchat.demo import worker
from fusionchat.demo.parts import Part
from fusionchat.errors import MachineError


def test_no_worker_outlives_its_reader(tmp_path):
    command = [sys.executable, "-m", "fusionchat.demo.worker", str(tmp_path), "pivot", "0", "1.0"]
    worker = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=os.environ | {"OMP_NUM_THREADS": "1"}
    )
    try:
        assert re.fullmatch(rb"\d+\n", worker.stdout.readline())
        worker.stdout.close()
        assert worker.wait(timeout=60) not in (0, -signal.SIGKILL)
    finally:
        worker.kill()
        worker.wait()
    assert not (tmp_path / "models" / "pivot").exists()


def test_models_are_made_one_after_the_other_and_counted(tmp_path, monkeypatch, capsys):
    asked = []

    def made(folder, name, *, seed, scale, advance):
        asked.append((name, seed, scale))
        (folder / "config.json").write_text(name)
        advance(4)

    monkeypatch.setattr(worker, "make_model", made)
    assert worker.main(str(tmp_path), "pivot,qwen", "3", "0.5") == 0
    assert asked == [("pivot", 3, 0.5), ("qwen", 3, 0.5)] and capsys.readouterr().out == "4\n4\n"
    assert all(Part(tmp_path, f"models/{name}", 3, 0.5).is_made() for name in ("pivot", "qwen"))


def test_an_error_is_said_and_its_code_goes_on(tmp_path, monkeypatch, capsys):
    def full(*_, **__):
        raise MachineError("The disk is full")

    monkeypatch.setattr(worker, "make_model", full)
    assert worker.main(str(tmp_path), "pivot", "0", "1") == 3
    assert capsys.readouterr().err == "The disk is full" and not (tmp_path / "models/pivot").exists()
