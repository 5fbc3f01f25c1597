"""What a training job leaves behind."""

import gc
import weakref

from fusionchat.artifacts import write_json
from fusionchat.stages import distill as stage


class Cycle:
    """As Trainer and its model are: only the collector can free it."""

    def __init__(self):
        self.me = self


def test_a_training_gives_its_memory_back(tmp_path, monkeypatch):
    made = []

    def train(_settings, _inputs, folder, _ctx):
        made.append(weakref.ref(Cycle()))
        write_json(folder / stage.TRAINING, {"steps": 3, "loss": 0.5, "log": []})

    monkeypatch.setattr(stage, "train_target", train)
    gc.disable()
    try:
        assert stage.work(None, None, tmp_path, None) == {"steps": 3, "loss": 0.5}
    finally:
        gc.enable()
    assert made[0]() is None
