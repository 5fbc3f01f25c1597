"""What is written of a training while it runs, and what stops it."""

import numpy as np
import pytest
import torch

from fusionchat.distill import data, divergence
from fusionchat.distill.best import read_best
from fusionchat.distill.held_out import HeldOut
from fusionchat.distill.metrics import HELD_OUT, read_metrics
from fusionchat.distill.observer import Watched, flat
from fusionchat.distill.trainer import DistillTrainer
from fusionchat.errors import TrainingError
from tests.distill import ranks
from tests.distill.test_trainer import corpus, own_loss, run, run_until, student, weights, with_lora

HOURLY = {"seconds", "tokens_per_second", "memory"}


class Fused:
    """Conversation c has c rows of a source, the others are the pivot's."""

    names = ("pivot", "qwen")

    def of(self, conversations):
        found = list(conversations)
        return np.array([sum(len(corpus()[i].rows) - i for i in found), sum(found)], float)


def watched(tmp_path, **more):
    return Watched(metrics=tmp_path / "metrics.jsonl", name_of=lambda i: f"chat-{i}", **more)


def lines(tmp_path, *, timed=False):
    found = read_metrics(tmp_path / "metrics.jsonl")
    return found if timed else [{k: v for k, v in line.items() if k not in HOURLY} for line in found]


def test_a_line_for_each_step(tmp_path):
    """One step of all ten conversations, which leaves the weights almost as they were."""
    settings = {
        "epochs": 2,
        "batch_size": 10,
        "learning_rate": 1e-9,
        "schedule": "constant",
        "warmup_ratio": 0,
    }
    model, trained = run(tmp_path, settings=settings, watched=watched(tmp_path, origins=Fused()))
    first, second = lines(tmp_path, timed=True)
    rows = sum(len(one.rows) for one in corpus())
    assert (first["step"], second["step"], trained.steps) == (1, 2, 2)
    assert first["label_loss"] == pytest.approx(own_loss(model, corpus()), rel=1e-5)
    assert first["loss"] == pytest.approx(0.5 * (first["label_loss"] + first["distribution_loss"]), rel=1e-5)
    assert first["loss"] == pytest.approx(trained.log[0]["loss"], rel=1e-5)
    assert (first["rows"], first["tokens"]) == (rows, sum(len(one.input_ids) for one in corpus()))
    assert first["learning_rate"] == 1e-9 and first["label_weight"] == 0.5
    assert first["share_of_rows"] == pytest.approx({"pivot": 1 - 45 / rows, "qwen": 45 / rows}, rel=1e-5)
    assert first["grad_norm"] == pytest.approx(gradient_norm(), rel=1e-4)
    assert first["tokens_per_second"] == pytest.approx(first["tokens"] / first["seconds"], rel=1e-4)
    assert 0 <= first["agreement"] < 0.3 and 1e7 < first["memory"] < 1e11


def gradient_norm():
    """Of the mean loss of all rows."""
    model, rendered = student(), corpus()
    soft = ranks.by_conversation(ranks.make_scored(3, [len(one.rows) for one in rendered], vocabulary=29))
    plan = ranks.plan_steps(
        [len(one.rows) for one in rendered], [len(one.input_ids) for one in rendered],
        epochs=1, batch_size=10, micro_tokens=10**6, seed=0,
    )  # fmt: skip
    (batch,) = ranks.StudentData(rendered, soft, plan)[0]
    _, gradients = ranks.gradients(ranks.Student.of(model, label_weight=0.5), batch, 1)
    return sum(float(g.square().sum()) for g in gradients) ** 0.5


def test_fine_tuning_has_no_figures_of_distributions(tmp_path):
    run(tmp_path, soft=False, label_weight=1.0, watched=watched(tmp_path))
    (line, *_) = lines(tmp_path)
    assert line.keys() == {
        "step",
        "loss",
        "label_loss",
        "label_accuracy",
        "rows",
        "tokens",
        "learning_rate",
        "grad_norm",
    }
    assert line["loss"] == line["label_loss"]


def test_watching_changes_no_bit(tmp_path):
    held = HeldOut(corpus(14)[10:], 100)
    more = {"make": with_lora_and_dropout, "settings": {"precision": "bf16"}}
    plain, _ = run(tmp_path / "a", **more)
    shown, _ = run(tmp_path / "b", watched=watched(tmp_path, held_out=held, every=1), **more)
    assert torch.equal(weights(plain), weights(shown))
    assert [HELD_OUT in line for line in lines(tmp_path)] == [True] * 6


def with_lora_and_dropout():
    return with_lora(dropout=0.3)


def test_held_out_text_is_measured_by_the_models_own_loss(tmp_path):
    rest = corpus(14)[10:]
    rows, watch = sum(len(one.rows) for one in rest), watched(tmp_path, held_out=HeldOut(rest, 100), every=4)
    before = own_loss(student(), rest) * rows / np.log(2) / 100
    model, _ = run(tmp_path, watched=watch, micro_batch_tokens=20)
    after = own_loss(model, rest) * rows / np.log(2) / 100
    found = {line["step"]: line[HELD_OUT] for line in lines(tmp_path) if HELD_OUT in line}
    assert found.keys() == {0, 4, 5}  # the pivot, every fourth step, the last one
    assert (found[0], found[5]) == (pytest.approx(before, rel=1e-5), pytest.approx(after, rel=1e-5))


def test_the_best_step_is_kept_also_by_a_resumed_training(tmp_path, monkeypatch):
    """Of bf16 weights, with what they lack of fp32."""
    rest = corpus(14)[10:]
    more = {
        "watched": watched(tmp_path, held_out=HeldOut(rest, 100)), "checkpoint_steps": 4,
        "settings": {"keep_best": 2, "epochs": 3, "learning_rate": 0.05, "precision": "bf16_weights"},
    }  # fmt: skip
    whole, trained = run(tmp_path / "whole", **more)
    figures = {line["step"]: line[HELD_OUT] for line in lines(tmp_path) if HELD_OUT in line}
    best = min(figures, key=figures.get)
    assert (trained.best.step, trained.best.bits_per_byte) == (best, pytest.approx(figures[best], rel=1e-6))
    assert [*figures] == [2, 4, 6, 8] and trained.steps == 8 > best
    own = own_loss(whole, rest) * sum(len(one.rows) for one in rest) / np.log(2) / 100
    assert own == pytest.approx(figures[best], rel=0.02)
    run_until(tmp_path / "cut", 6, monkeypatch, **more)
    assert read_best(tmp_path / "cut" / "best").step in (2, 4)
    resumed, again = run(tmp_path / "cut", **more)
    assert torch.equal(weights(whole), weights(resumed)) and again.best == trained.best


def test_a_resumed_training_writes_and_reports_no_step_twice(tmp_path, monkeypatch):
    more = {"watched": watched(tmp_path), "checkpoint_steps": 2}
    reported = []
    monkeypatch.setattr(DistillTrainer, "add_callback", spy_on(DistillTrainer.add_callback, reported))
    run_until(tmp_path / "cut", 4, monkeypatch, **more)  # steps 1 to 3, and a checkpoint of 2
    assert [line["step"] for line in lines(tmp_path)] == [1, 2, 3]
    before = lines(tmp_path)
    run(tmp_path / "cut", **more)
    assert lines(tmp_path)[:3] == before and [line["step"] for line in lines(tmp_path)] == [1, 2, 3, 4, 5]
    assert reported == [1, 2, 3, 4, 5]


def spy_on(add, steps):
    def added(self, callback):
        add(self, callback)
        if hasattr(callback, "report"):
            report = callback.report
            callback.report = lambda logs: (steps.append(self.state.global_step), report(logs))

    return added


def test_a_loss_that_is_not_a_number_stops_before_it_changes_a_weight(tmp_path):
    with ranks.wrong(corpus()[3]), pytest.raises(TrainingError) as stopped:
        run(
            tmp_path / "a",
            watched=watched(tmp_path, every=0)._replace(label="distill qwen"),
            micro_batch_tokens=1,
        )
    said = str(stopped.value)
    assert "conversations chat-3\n" in said and " of 5 of distill qwen" in said and "learning_rate" in said
    assert "not a number, in step" in said


def test_a_gradient_that_is_not_a_number_names_the_whole_step(tmp_path, monkeypatch):
    batch = data.StudentData.batch
    monkeypatch.setattr(
        data.StudentData,
        "batch",
        lambda self, micro: (
            batch(self, micro) | {"tail": torch.full((len(batch(self, micro)["tail"]),), torch.nan)}
        ),
    )
    model = student()
    with pytest.raises(TrainingError, match=r"The gradient is not a number, in step 1 of 1") as stopped:
        run(tmp_path, make=lambda: model, settings={"batch_size": 10, "epochs": 1}, watched=watched(tmp_path))
    assert "and 2 more" in str(stopped.value) and torch.equal(weights(model), weights(student()))
    assert lines(tmp_path) == []


def test_a_loss_that_grows_stops_also_a_resumed_training(tmp_path, monkeypatch):
    """More than half of what it was is too much here: the tenth step after the first ten is the last."""
    monkeypatch.setattr(divergence, "TIMES", 0.5)
    monkeypatch.setattr(divergence, "MORE", 0.0)
    more = {
        "settings": {"learning_rate": 1e-6, "epochs": 2.5, "batch_size": 1}, "watched": watched(tmp_path), "soft": False,
        "label_weight": 1.0, "checkpoint_steps": 8,
    }  # fmt: skip
    run_until(tmp_path / "cut", 18, monkeypatch, **more)
    with pytest.raises(
        TrainingError,
        match=r"The loss of the labels is growing: it is 3\.\d\d nats per token.*in step 20 of 25",
    ):
        run(tmp_path / "cut", **more)
    assert [line["step"] for line in lines(tmp_path)] == [*range(1, 20)]


def test_programs_are_given_numbers():
    line = {"step": 3, "loss": 1.5, "rows": 7, "share_of_rows": {"pivot": 0.25}}
    assert flat(line) == {"loss": 1.5, "rows": 7, "share_of_rows/pivot": 0.25}
