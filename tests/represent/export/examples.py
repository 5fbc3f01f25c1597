"""An example to export, small enough to write down what each format makes of it."""

import numpy as np

from fusionchat.represent.export.base import About, Example
from fusionchat.represent.topk import TopK

INF = np.float16(-np.inf)
ABOUT = About(
    job="fuse/qwen", fingerprint="f00d", model="models/pivot", vocabulary=100, k=3, longest=8, pad=0, end=2
)


def example() -> Example:
    """Six tokens; the fourth and the fifth are supervised, with two and three kept tokens."""
    topk = TopK(
        ids=np.array([[13, 40, 0], [14, 50, 99]], np.int32),
        logprobs=np.log(np.array([[0.75, 0.125, 0.0], [0.5, 0.25, 0.125]]), where=[[True, True, False], [True] * 3],
                        out=np.full((2, 3), -np.inf)).astype(np.float16),
        tail=np.log(np.array([0.125, 0.125])).astype(np.float16),
        present=np.array([True, True]),
    )  # fmt: skip
    return Example(
        "a", "math", np.array([10, 11, 12, 13, 14, 15], np.int32), np.array([3, 4], np.int32), topk
    )
