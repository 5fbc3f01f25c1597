"""Merges by name or with their settings, and how a fused model is stored."""

import pytest
from pydantic import TypeAdapter, ValidationError

from fusionchat.merge.methods import METHODS
from fusionchat.merge.methods.varm import Varm
from fusionchat.merge.settings import AnyMerge, FusedSettings, SearchSettings

read = TypeAdapter(AnyMerge).validate_python


@pytest.mark.parametrize("name", METHODS)
def test_a_method_s_name_is_short_for_its_settings(name):
    assert read(name) == read({"method": name}) == METHODS[name]()


def test_candidates_of_a_search_are_merges():
    settings = SearchSettings(candidates=["varm", {"method": "varm", "power": 2}])
    assert settings.candidates == (Varm(), Varm(power=2.0)) and settings.metric == "bits_per_byte"


@pytest.mark.parametrize(
    ("kind", "wrong"),
    [(SearchSettings, {"minutes": 0}), (SearchSettings, {"candidates": ["varn"]}), (FusedSettings, {"shard_gb": 0}),
     (FusedSettings, {"dtype": "float8"})],
)  # fmt: skip
def test_settings_out_of_range_are_refused(kind, wrong):
    with pytest.raises(ValidationError):
        kind(**wrong)
