"""Measuring a model with all tasks of a table, or with one metric to choose among models."""

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from fusionchat import console
from fusionchat.artifacts import atomic_path
from fusionchat.corpus.conversation import Conversation
from fusionchat.errors import CorpusError
from fusionchat.evaluate.metric import Metric
from fusionchat.evaluate.scores import Scores, write_scores
from fusionchat.evaluate.tasks import PRIMARY, TASKS
from fusionchat.evaluate.tasks.base import Measured, Subject, Task


def measure(subject: Subject, tasks: Sequence[Task], out: Path, name: str) -> Scores:
    """The scores of a model, written to ``scores.json`` with the tasks' own files beside it."""

    def progress(verb: str, total: int, unit: str) -> AbstractContextManager[console.Advance]:
        return console.progress(f"{verb} {name}", total, unit)

    found = [task.measure(subject, progress) for task in tasks]
    for measured in found:
        for warning in measured.warnings:
            console.warn(f"evaluate {name}: {warning}")
        for file, content in measured.files.items():
            with atomic_path(out / file) as partial:
                partial.write_bytes(content)
    scores = together(subject, found)._replace(folder=out)
    write_scores(out, scores)
    return scores


def together(subject: Subject, found: Sequence[Measured]) -> Scores:
    """The scores from several tasks' measurements of one model; a metric without items is left out."""
    items = {name: own for measured in found for name, own in measured.items.items() if own.ids}
    counts = {name: count for measured in found for name, count in measured.counts.items()}
    return Scores(sum(p.numel() for p in subject.model.parameters()), items, counts)


def loss(subject: Subject, task: Task, metric: Metric) -> float:
    """The model's figure in a metric as a loss: negated if more is better."""
    scores = together(subject, [task.measure(subject, lambda *_: nullcontext(console.ignore))])
    return metric.loss(scores.estimate(metric).value)


def require_measurable(task: Task, metric: Metric, conversations: Sequence[Conversation]) -> None:
    """Raise CorpusError if the task can measure none of the validation part's conversations."""
    if not task.places(conversations):
        raise CorpusError(
            f"No conversation of the validation part can be measured by {metric.title}",
            where="search.metric",
            do=f"give {task.needs}, or search by {PRIMARY.name}",
        )


def comparable(scores: Mapping[str, Scores]) -> tuple[list[Scores], tuple[str, ...]]:
    """Several models' scores, made comparable by each task, and sentences on what was left out.

    Args:
        scores: The scores by the names of the models' rows.
    """
    found, notes = dict(scores), list[str]()
    for kind in TASKS.values():
        if all(any(m.name in one.items for m in kind.metrics) for one in found.values()):
            changed, note = kind.comparable(found)
            found, notes = dict(zip(found, changed, strict=True)), [*notes, note]
    return list(found.values()), tuple(note for note in notes if note)


def remarks(models: Mapping[str, Sequence[Scores]]) -> tuple[str, ...]:
    """What a reader must know about the tasks' counts.

    Args:
        models: The scores of each seed of every model, by the model's label.
    """
    counts = {
        label: dict(sum((Counter(one.counts) for one in runs), Counter())) for label, runs in models.items()
    }
    found = (kind.remark(counts) for kind in TASKS.values())
    return tuple(remark for remark in found if remark)
