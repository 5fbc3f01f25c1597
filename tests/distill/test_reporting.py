"""Programs that show a training's course."""

from typing import ClassVar

import pytest
from transformers import TrainerCallback

from fusionchat.distill import reporting
from fusionchat.distill.observer import Watched
from fusionchat.distill.reporting import TensorBoardCallback, reporters, require_reporters
from fusionchat.errors import RecipeError
from tests.distill.test_trainer import run


def test_programs_that_are_not_known_or_not_here_are_refused(monkeypatch):
    monkeypatch.setattr(reporting, "is_tensorboard_available", lambda: False)
    monkeypatch.setattr(reporting, "get_available_reporting_integrations", lambda: ["wandb"])
    require_reporters(("wandb",))
    with pytest.raises(RecipeError, match=r"no program 'tensorbord' \(did you mean 'tensorboard'"):
        require_reporters(("wandb", "tensorbord"))
    with pytest.raises(
        RecipeError, match=r"(?s)tensorboard is not installed.*pip install 'fusionchat\[tensorboard\]'"
    ):
        require_reporters(("tensorboard",))
    with pytest.raises(RecipeError, match=r"(?s)mlflow is not installed.*pip install mlflow"):
        require_reporters(("mlflow",))


class Seen(TrainerCallback):
    """As a program's: it is told of a step's figures."""

    logs: ClassVar[list[dict[str, float]]] = []

    def on_log(self, args, state, control, logs=None, **_):
        self.logs.append({"step": state.global_step, **logs})


def test_a_program_is_given_each_step(tmp_path, monkeypatch):
    monkeypatch.setitem(reporting.INTEGRATION_TO_CALLBACK, "seen", Seen)
    monkeypatch.setattr(Seen, "logs", [])
    run(tmp_path, watched=Watched(metrics=tmp_path / "m.jsonl", report_to=("seen",)))
    assert [logs["step"] for logs in Seen.logs] == [1, 2, 3, 4, 5]
    assert {"loss", "agreement", "grad_norm", "tokens_per_second"} <= Seen.logs[0].keys()


def test_tensorboards_files_go_into_the_trainings_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(TensorBoardCallback, "__init__", lambda self: setattr(self, "logging_dir", None))
    monkeypatch.delenv("TENSORBOARD_LOGGING_DIR", raising=False)
    (found,) = reporters(("tensorboard",), tmp_path)
    assert found.logging_dir == str(tmp_path / "tensorboard")
    monkeypatch.setenv("TENSORBOARD_LOGGING_DIR", "elsewhere")
    assert reporters(("tensorboard",), tmp_path)[0].logging_dir is None
