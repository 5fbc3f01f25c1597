"""Later rounds: each target's answers, captures, alignments, fusion, and the next training.

    answer/round2/qwen@0.9 -> represent/round2/qwen@0.9/pivot, .../qwen -> align/... -> fuse/...
        -> distill/round2/qwen@0.9

The stages are those of the first round, but read the folder of the answers; docs/decisions/0009-rounds.md
says why.
"""

from fusionchat.run.plan import Run
from fusionchat.stages.align import plan_alignments
from fusionchat.stages.answer import plan_answers
from fusionchat.stages.distill import plan_training
from fusionchat.stages.fuse import plan_fusion
from fusionchat.stages.represent import plan_captures
from fusionchat.stages.variants import targets, trainings


def plan(run: Run) -> None:
    """Plan the rounds after the first, round by round."""
    for training in trainings(run.recipe):
        of = training.trained
        if of.round == 1:
            continue
        sources = targets(run.recipe)[of.base]
        plan_answers(run, of, sources, training.seed)
        plan_captures(run, ("pivot", *sources), of)
        plan_alignments(run, sources, of)
        plan_fusion(run, of.base, of)
        plan_training(run, training)
