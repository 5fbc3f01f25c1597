"""A model's card: the README.md of its folder, whose front matter the Hugging Face hub reads."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from huggingface_hub import EvalResult

README = "README.md"
TASK = "text-generation"


class Result(NamedTuple):
    """A figure for the hub's ``model-index``.

    Attributes:
        metric: The metric's key, such as ``bits_per_byte``.
        name: Its name for readers.
        value: The figure, in the metric's own unit.
    """

    metric: str
    name: str
    value: float


class Measured(NamedTuple):
    """The data that a model was measured on, and the figures.

    Attributes:
        model: The model's name in ``model-index``.
        task: The task's name for readers.
        dataset: The dataset's key and its name for readers.
        results: The figures.
    """

    model: str
    task: str
    dataset: tuple[str, str]
    results: Sequence[Result]


def card(
    body: str,
    *,
    bases: Sequence[str],
    tags: Sequence[str],
    pipeline: str | None = None,
    measured: Measured | None = None,
) -> str:
    """The card's text: front matter as huggingface_hub writes it, then the body.

    Args:
        body: Markdown.
        bases: Hub ids of the models that it was merged from; duplicates are dropped.
        tags: The hub's tags.
        pipeline: The hub's ``pipeline_tag``.
        measured: Its results; a model without figures has no ``model-index``.
    """
    from huggingface_hub import ModelCard, ModelCardData

    ids = list(dict.fromkeys(bases))
    results = _eval_results(measured) if measured else []
    matter = ModelCardData(
        base_model=ids or None,
        library_name="transformers",
        pipeline_tag=pipeline,
        tags=list(tags),
        model_name=measured.model if measured and results else None,
        eval_results=results or None,
        base_model_relation="merge" if ids else None,
    )
    return str(ModelCard(f"---\n{matter.to_yaml()}\n---\n\n{body}"))


def _eval_results(measured: Measured) -> "list[EvalResult]":
    from huggingface_hub import EvalResult

    key, name = measured.dataset
    return [
        EvalResult(
            task_type=TASK,
            task_name=measured.task,
            dataset_type=key,
            dataset_name=name,
            metric_type=result.metric,
            metric_name=result.name,
            metric_value=result.value,
        )
        for result in measured.results
    ]
