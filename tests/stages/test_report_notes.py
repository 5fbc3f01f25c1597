"""Sentences of a report; those of answers are in test_rounds.py."""

import pytest

from fusionchat.stages.report_notes import fusion_note
from tests.stages.recipes import summarized

FUSION = {"unscored_bytes": 0, "unscored_ends": 0, "bytes": 12_345}


@pytest.mark.parametrize(
    ("more", "note"),
    [
        ({}, ""),
        (
            {"unscored_bytes": 1200},
            "Fusion for target a compared its models without 1,200 bytes, in 12,345 bytes of answers: not all of them "
            "score these.",
        ),
        ({"to_pivot": {"math": 1}}, "Fusion for target a: 1 conversation took the pivot's: 1 math."),
    ],
)
def test_what_a_fusion_could_not_compare_is_said(more, note):
    assert fusion_note(summarized(fuse__a=FUSION | more), "a") == note
