"""Which layer of which input each layer of the fused model is, and the parts' names."""

import pytest

from fusionchat.errors import MergeError
from fusionchat.merge.inputs.layers.arrange import Arrangement, Part, arranged, passthrough_arrangement
from fusionchat.merge.inputs.layers.stack import Stack
from fusionchat.merge.methods.passthrough import LayerRange, Passthrough

STACK = Stack("h", 2)
NAMES = ["embed.weight", "h.0.w", "h.1.w", "h.1.b", "h.2.head", "norm.weight"]
"""Layers 0 and 1 are counted, 2 is a head behind them; layer 1 has one tensor more."""


def test_passthrough_takes_slices_in_order_or_the_pivot_whole():
    slices = (LayerRange("t", (1, 2)), LayerRange("pivot", (0, 2)))
    assert passthrough_arrangement(Passthrough(slices=slices), STACK) == Arrangement(
        ((("t", 1),), (("pivot", 0),), (("pivot", 1),))
    )
    assert passthrough_arrangement(Passthrough(), STACK) == Arrangement(((("pivot", 0),), (("pivot", 1),)))


def test_parts_are_named_by_their_new_places():
    """Layers t1, p0, p1: what is behind the counted layers moves up by one."""
    inputs = {"pivot": dict.fromkeys(NAMES), "t": dict.fromkeys(NAMES)}
    stacked = Arrangement(((("t", 1),), (("pivot", 0),), (("pivot", 1),)), ("pivot",), ("t",))
    assert list(arranged(stacked, STACK, NAMES, inputs)) == [
        Part("embed.weight", (("pivot", "embed.weight"),)),
        Part("h.3.head", (("t", "h.2.head"),)),
        Part("norm.weight", (("t", "norm.weight"),)),
        Part("h.0.w", (("t", "h.1.w"),)),
        Part("h.0.b", (("t", "h.1.b"),)),
        Part("h.1.w", (("pivot", "h.0.w"),)),
        Part("h.2.w", (("pivot", "h.1.w"),)),
        Part("h.2.b", (("pivot", "h.1.b"),)),
    ]


def test_a_layer_is_merged_from_several_inputs():
    inputs = {"pivot": dict.fromkeys(NAMES), "t": dict.fromkeys(NAMES)}
    joined = Arrangement(((("pivot", 0), ("t", 1)),), ("pivot", "t"), ("pivot", "t"))
    parts = list(arranged(joined, STACK, NAMES, inputs))
    assert parts[0] == Part("embed.weight", (("pivot", "embed.weight"), ("t", "embed.weight")))
    assert parts[1].name == "h.1.head" and parts[-1] == Part("h.0.w", (("pivot", "h.0.w"), ("t", "h.1.w")))


@pytest.mark.parametrize(
    ("layers", "words"),
    [
        (((("pivot", 2),),), "no layer 2 in 'pivot'"),
        (((("pivot", 0), ("t", 5)),), "no layer 5 in 't'"),
        (((("u", 0),),), "no layer 0 in 'u'"),
        (((("pivot", 1), ("t", 0)),), r"no tensor h\.0\.b in 't'"),
    ],
)
def test_layers_and_tensors_that_are_not_there(layers, words):
    inputs = {"pivot": dict.fromkeys(NAMES), "t": dict.fromkeys(NAMES)}
    with pytest.raises(MergeError, match=words):
        list(arranged(Arrangement(layers), STACK, NAMES, inputs))


def test_the_config_counts_the_new_layers():
    config = {"model_type": "of my own", "num_hidden_layers": 2, "layer_types": ["x", "y"]}
    other = {**config, "layer_types": ["u", "v"]}
    stacked = Arrangement(((("t", 1),), (("pivot", 0),), (("pivot", 1),)))
    made = stacked.config({"pivot": config, "t": other}, STACK, "the pivot")
    assert made == {**config, "num_hidden_layers": 3, "layer_types": ["v", "x", "y"]}
