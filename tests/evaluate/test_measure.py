"""What tasks measure of a model, put together."""

from contextlib import contextmanager
from typing import ClassVar

import pytest
from torch import nn

from fusionchat import console
from fusionchat.corpus.conversation import Conversation, Message
from fusionchat.errors import CorpusError
from fusionchat.evaluate import measure as module
from fusionchat.evaluate.metric import RATIO, Metric
from fusionchat.evaluate.scores import Items, Scores, read_scores
from fusionchat.evaluate.tasks.base import Measured, Subject, Task
from fusionchat.evaluate.tasks.exact_match import EXACT_MATCH, ExactMatchSettings

TALKS = [
    Conversation("a", (Message("user", "hi"), Message("assistant", "hello"))),
    Conversation("b", (Message("user", "hi"), Message("assistant", "yo")), answer="yo"),
]
SUBJECT = Subject(nn.Linear(3, 2), None, TALKS, [], "cpu", 1)
LENGTH = Metric("length", "length", "letters", "higher", RATIO)


class Lengths(Task):
    name: ClassVar[str] = "lengths"
    metrics: ClassVar[tuple[Metric, ...]] = (LENGTH,)

    def measure(self, subject, progress):
        with progress("measure", 2, "texts") as advance:
            advance(2)
        values = [float(len(c.messages[-1].content)) for c in subject.conversations]
        return Measured({"length": Items.of(TALKS, values)}, {"kept.txt": b"kept"}, {"texts": 2}, ("odd",))

    @classmethod
    def remark(cls, counts):
        return ", ".join(f"{label} {own['texts']}" for label, own in counts.items())


class Nothing(Lengths):
    def measure(self, subject, progress):
        return Measured({"nothing": Items.of([], [])})


def test_scores_and_the_tasks_files_are_written_and_metrics_without_items_left_out(tmp_path, monkeypatch):
    seen = []

    @contextmanager
    def progress(*what):
        yield lambda done: seen.append((*what, done))

    monkeypatch.setattr(console, "progress", progress)
    monkeypatch.setattr(console, "warn", seen.append)
    found = module.measure(SUBJECT, (Lengths(), Nothing()), tmp_path, "varm")
    assert seen == [("measure varm", 2, "texts", 2), "evaluate varm: odd"]
    kept = read_scores(tmp_path)
    assert list(kept.items) == ["length"] and kept.items["length"].values.tolist() == [5.0, 2.0]
    assert (kept.parameters, kept.counts, kept.folder) == (8, {"texts": 2}, found.folder)
    assert (tmp_path / "kept.txt").read_bytes() == b"kept"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["kept.txt", "scores.json"]


def test_a_loss_is_the_figure_less_being_better():
    assert module.loss(SUBJECT, Lengths(), LENGTH) == -3.5


def test_a_metric_that_nothing_can_be_measured_by_is_refused():
    module.require_measurable(ExactMatchSettings(), EXACT_MATCH, TALKS)
    with pytest.raises(CorpusError, match="measured by exact match") as error:
        module.require_measurable(ExactMatchSettings(), EXACT_MATCH, TALKS[:1])
    assert "records with an `answer`" in error.value.do and "bits_per_byte" in error.value.do


def test_each_task_has_its_metrics_compared_its_own_way(monkeypatch):
    class Halved(Lengths):
        @classmethod
        def comparable(cls, scores):
            items = [one.items["length"] for one in scores.values()]
            halves = [own._replace(values=own.values / 2) for own in items]
            return [Scores(1, {"length": half}) for half in halves], "halved"

    monkeypatch.setattr(module, "TASKS", {"lengths": Halved, "exact_match": ExactMatchSettings})
    models = {"x": Scores(1, {"length": Items.of(TALKS, [4.0, 2.0])})}
    found, notes = module.comparable(models)
    assert found[0].items["length"].values.tolist() == [2.0, 1.0] and notes == ("halved",)
    without = {"x": Scores(1, {"exact_match": Items.of(TALKS, [1.0, 0.0])})}
    assert module.comparable(without) == ([without["x"]], ())


def test_what_tasks_say_of_their_counts_is_of_all_seeds_of_a_model(monkeypatch):
    monkeypatch.setattr(module, "TASKS", {"lengths": Lengths, "exact_match": ExactMatchSettings})
    one, two = Scores(1, {}, {"texts": 2, "unfinished_thoughts": 1}), Scores(1, {}, {"texts": 3})
    assert module.remarks({"SFT": (one, two), "varm": (two,)}) == (
        "SFT 5, varm 3",
        "Answers that ended inside a thought, counted as wrong: SFT 1.",
    )
    assert module.remarks({"varm": (two,)}) == ("varm 3",)
