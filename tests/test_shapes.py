"""The check of pure functions is on in every test, for all files of PURE."""

import ast
from importlib import import_module
from unittest.mock import call

import numpy as np
import pytest
import torch
from jaxtyping import TypeCheckError
from jaxtyping._import_hook import _JaxtypingLoader

from tests.shapes import is_not_checked
from tests.structure import PURE, SRC, files

FLAT, TABLE = np.zeros(2), np.zeros((2, 2))
WRONG = {
    "align.cooccurrence.unpack": call(FLAT, FLAT),
    "corpus.supervised.SupervisedTokens": call(FLAT, FLAT, FLAT, FLAT, FLAT),
    "discover.discover": call(1, 2, 3),
    "distill.loss.soft_cross_entropy": call(
        torch.zeros(2), torch.zeros(2, 2), None, label_weight=1.0, tail=None
    ),
    "distill.batching.plan_steps": call(1, 2, epochs=1.0, batch_size=1, micro_tokens=1, seed=0),
    "errors.FusionChatError": call(1),
    "evaluate.statistics.ratio": call(TABLE, TABLE),
    "evaluate.noise.degrees_of_freedom": call(1),
    "evaluate.t_distribution.critical": call("2"),
    "fuse.scores.unit_of_row": call(1, 2, 3),
    "fuse.rules.base.comparable": call(FLAT),
    "merge.methods.largest._kth_from_top": call(TABLE, 1.5),
    "merge.methods.spherical.norm": call(FLAT, np.zeros((3, 3))),
    "merge.methods.sce.variance": call(FLAT.astype(np.float32)),
    "merge.weights.variation_ratio": call(FLAT.astype(np.float32), 1.0),
    "models.logits.product": call(torch.zeros(2, 3), torch.zeros(2, 2)),
    "represent.events.add_up": call(FLAT, np.zeros(3, np.int64), 2),
    "represent.select.largest": call(torch.zeros(2), 1),
    "represent.topk.widen": call(1, 2),
    "tokens.spans.make_table": call(1, 2),
    "units.counted": call("1", "row"),
}
"""Calls with a wrong shape, dtype or type: at least one of each pure folder."""


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_argument_is_refused(name):
    module, _, function = f"fusionchat.{name}".rpartition(".")
    with pytest.raises(TypeCheckError):
        getattr(import_module(module), function)(*WRONG[name].args, **WRONG[name].kwargs)


def test_every_pure_file_is_checked():
    pure = [
        file
        for file in files()
        if file.startswith(tuple(one if one.endswith(".py") else f"{one}/" for one in PURE))
    ]
    assert len(pure) > 40
    modules = [
        import_module(f"fusionchat.{file[:-3].replace('/', '.').removesuffix('.__init__')}") for file in pure
    ]
    assert [one.__name__ for one in modules if not isinstance(one.__loader__, _JaxtypingLoader)] == []


def test_compiled_functions_are_left_alone():
    wanted = {"numba.njit(cache=True)": True, "njit": True, "compiled": True, "dataclass(frozen=True)": False}
    assert {text: is_not_checked(ast.parse(text, mode="eval").body) for text in wanted} == wanted
    from fusionchat.merge.kernels import bf16

    assert bf16.decode_bf16.py_func.__code__.co_filename == str(SRC / "merge/kernels/bf16.py")
