"""The fused model's card: the README.md in its folder, which the Hugging Face hub shows."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fusionchat.models.card import TASK, Measured, Result, card
from fusionchat.report import markdown, results, tables, text
from fusionchat.report.figures import MergeWeights
from fusionchat.report.headline import headline
from fusionchat.report.model import Report

if TYPE_CHECKING:
    from fusionchat.models.ref import ModelRef
    from fusionchat.recipe.schema import Recipe

PAPER = "https://arxiv.org/abs/2402.16107"


def model_card(report: Report, recipe: "Recipe", refs: "Mapping[str, ModelRef]") -> str:
    """The card as Markdown with the hub's YAML front matter.

    Local folders are named by their last part and never put into ``base_model``, because the card is
    published.
    """
    blocks = [
        f"# {report.name}",
        f"A chat model fused from {_and([name_of(ref) for ref in refs.values()])} with FusionChat "
        f"([arXiv 2402.16107]({PAPER})). It has the structure, the size and the tokenizer of "
        f"{name_of(refs['pivot'])}.",
        headline(report),
        "## Results",
        *(markdown.table(_for_card(table)) for table in results.result_tables(report)),
        "## How to use it",
        usage(),
        "## How it was made",
        lineage(report, recipe, refs),
        *_weights(report.weights),
        "### Recipe",
        markdown.fenced(report.recipe, "yaml"),
        "## Licence",
        "This model is derived from the models above; the licence of each of them applies to it, and so may the terms "
        "of the corpus. Set `license:` in this card's front matter once you have read them.",
    ]
    return card(
        "\n\n".join(blocks) + "\n",
        bases=[id for ref in refs.values() if (id := ref.place.hub_id)],
        tags=("fusionchat", "merge", "distillation", "knowledge-fusion"),
        pipeline=TASK,
        measured=measured(report),
    )


def measured(report: Report) -> Measured | None:
    """The fused model's figures for the hub; None if it was not evaluated."""
    row = report.row(report.fused)
    if row is None:
        return None
    figures = [(metric, row.value(metric)) for metric in report.metrics]
    return Measured(
        report.name,
        "held-out answers",
        ("held-out", "held-out part of the fusion corpus"),
        [
            Result(metric.name, metric.title, round(value.overall.value, 4))
            for metric, value in figures
            if value is not None
        ],
    )


def name_of(ref: "ModelRef") -> str:
    """A model's name for readers: a link to the hub, or the last part of its folder."""
    id = ref.place.hub_id
    if id is not None:
        return f"[{id}](https://huggingface.co/{id})"
    return f"`{Path(ref.model).name}`"


def usage() -> str:
    """How to load the model, with transformers and with vLLM."""
    code = """
from transformers import AutoModelForCausalLM, AutoTokenizer

folder = "."  # this folder, or the model's id on the hub
tokenizer = AutoTokenizer.from_pretrained(folder)
model = AutoModelForCausalLM.from_pretrained(folder, dtype="auto")
messages = [{"role": "user", "content": "Hello!"}]
inputs = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_tensors="pt", return_dict=True)
answer = model.generate(**inputs, max_new_tokens=256)[0, inputs["input_ids"].shape[1]:]
print(tokenizer.decode(answer, skip_special_tokens=True))
"""
    return "\n\n".join(
        [
            markdown.fenced(code.strip(), "python"),
            "With vLLM, from inside this folder:",
            markdown.fenced("vllm serve . --served-model-name fused", "bash"),
            "In a terminal, with FusionChat:",
            markdown.fenced("fusionchat chat .", "bash"),
        ]
    )


def lineage(report: Report, recipe: "Recipe", refs: "Mapping[str, ModelRef]") -> str:
    """The role of each model, and how each source was carried over."""
    lines = [f"- pivot: {name_of(refs['pivot'])}"]
    pairs = {pair.label: pair for pair in report.pairs}
    for name in recipe.sources:
        line = f"- source `{name}`: {name_of(refs[name])}"
        if name in pairs:
            pair = pairs[name]
            retention = "" if pair.retention is None else f", retention {pair.retention:.3f}"
            line += f" (vocabulary `{pair.method}`, mass kept {text.percent(pair.mass_kept)}{retention})"
        lines.append(line)
    distill = recipe.distill
    epochs = "epoch" if distill.epochs == 1 else "epochs"
    lines.append(
        f"- fusion `{recipe.fuse.method}`; distillation of one target per source: {distill.epochs:g} {epochs}, batch "
        f"{distill.batch_size}, learning rate {distill.learning_rate:g}, {distill.schedule} schedule"
    )
    lines.append(f"- merge `{report.merge}`; stored as {recipe.fused.dtype}")
    versions = ", ".join(f"{name} {version}" for name, version in report.versions.items())
    return "\n".join([*lines, f"- made with {versions}"] if versions else lines)


def _weights(weights: Sequence[MergeWeights]) -> list[str]:
    blocks = []
    for merge in weights:
        lines = []
        for target, table in zip(merge.targets, merge.weights, strict=True):
            found = [w for row in table for w in row if w is not None]
            lines.append(
                f"- `{target}`: mean {sum(found) / len(found):.3f}, from {min(found):.3f} to {max(found):.3f}"
            )
        blocks += [f"Merge weights over the modules of all layers ({merge.label}):", "\n".join(lines)]
    return blocks


def _for_card(table: tables.Table) -> tables.Table:
    return table._replace(caption=f"{table.title}. {table.caption}")


def _and(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
