"""Sentences of a report about what answers and fusions left out."""

from collections.abc import Mapping
from typing import cast

from fusionchat.corpus.parts import count_words
from fusionchat.evaluate.row_bits import amounts
from fusionchat.run.job import Inputs
from fusionchat.stages.names import Trained as Target
from fusionchat.stages.names import answered, fused
from fusionchat.units import counted


def answers_note(inputs: Inputs, of: Target) -> str:
    """What a target answered for a later round, and which answers were not learned."""
    summary = inputs.manifest(answered(of)).summary
    rejects = cast(Mapping[str, int], summary["rejects"])
    left = f"; without an answer: {count_words(rejects)}" if rejects else ""
    return (
        f"Round {of.round}: {of.before} answered {summary['answers']} of {summary['questions']} questions, "
        f"{summary['cut']} of them cut{left}."
    )


def fusion_note(inputs: Inputs, target: str) -> str:
    """What a fusion's models could not be compared over, and what went to the pivot; "" for nothing."""
    summary = inputs.manifest(fused(target)).summary
    missing, ends = int(str(summary["unscored_bytes"])), int(str(summary["unscored_ends"]))
    said = []
    if missing or ends:
        said.append(
            f"Fusion for target {target} compared its models without {amounts(missing, ends)}, in "
            f"{int(str(summary['bytes'])):,} bytes of answers: not all of them score these."
        )
    if to_pivot := cast(Mapping[str, int], summary.get("to_pivot", {})):
        count = counted(sum(to_pivot.values()), "conversation")
        said.append(f"Fusion for target {target}: {count} took the pivot's: {count_words(to_pivot)}.")
    return " ".join(said)
