"""The models and slices of mergekit's files, with the place of each setting."""

from fusionchat.merge.mergekit.rules import Rule
from fusionchat.merge.mergekit.schema import MergekitFile
from fusionchat.merge.mergekit.sources import Slice, Source, slices_of


def read(**top):
    return slices_of(MergekitFile.model_validate({"merge_method": "linear", **top}))


def test_models_are_one_slice_of_whole_models():
    (part,) = read(models=[{"model": "a"}, {"model": "b", "parameters": {"weight": 0.5}}])
    assert part.models == ["a", "b"] and part.layers == 0 and part.rules == {}
    assert part.sources[1] == Source("b", None, None, {"weight": Rule(0.5, "models.1.parameters.weight")})


def test_slices_have_layers_and_settings():
    first, second = read(
        slices=[
            {"sources": [{"model": "a", "layer_range": [0, 4]}, {"model": "b", "layer_range": [2, 6]}],
             "parameters": {"t": 0.3}},
            {"sources": [{"model": "a", "layer_range": [4, 5], "parameters": {"weight": 2}}]},
        ]
    )  # fmt: skip
    assert (first.models, first.layers, second.layers) == (["a", "b"], 4, 1)
    assert first.sources[1].span == (2, 6) and first.rules == {"t": Rule(0.3, "slices.0.parameters.t")}
    assert second.sources[0].rules == {"weight": Rule(2.0, "slices.1.sources.0.parameters.weight")}


def test_an_adapter_is_written_behind_its_model():
    (part,) = read(models=[{"model": "base+lora"}])
    assert part.sources[0][:2] == ("lora", "base")


def test_a_slice_counts_its_layers():
    assert Slice([Source("a", None, (3, 8), {})], {}).layers == 5
