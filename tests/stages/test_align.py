"""Alignments of a run: what is written is what the mathematics gives, and the figures are of it."""

import json

import numpy as np
import pytest
from safetensors.numpy import load_file

from fusionchat.align.projection.arrays import UNALIGNED
from fusionchat.align.projection.project import project
from fusionchat.align.settings import AlignSettings, BytePrefix, Exact, Statistics
from fusionchat.align.vocabulary import build_map
from fusionchat.represent.store.read import DistributionStore
from fusionchat.run.job import Inputs
from fusionchat.stages.align import MAP, Settings, make_map, settings_of, so_far
from fusionchat.stages.corpus import make_renderer, read_tokens
from fusionchat.stages.names import CORPUS


def test_settings_go_to_json_and_back():
    settings = Settings(source="a", align=AlignSettings(vocabulary=Exact(), k=3))
    assert settings_of(settings.model_dump(mode="json")) == settings and so_far(settings, None, None) == ""


@pytest.fixture(scope="module")
def pair(finished):
    """The tokens and captures of the pivot and qwen, and their tables."""
    corpus = finished.path(CORPUS)
    tokens = [read_tokens(corpus, "train", name) for name in ("pivot", "qwen")]
    stores = [DistributionStore(finished.path(f"represent/{name}")) for name in ("pivot", "qwen")]
    tables = tuple(make_renderer(finished.refs[name]).table for name in ("pivot", "qwen"))
    return tokens, stores, tables


def test_what_is_written_is_the_projection_of_the_captures(finished, pair):
    tokens, stores, tables = pair
    settings = finished.recipe.align
    mapping = make_map(settings, tokens, stores[0].ranges, *tables)
    count = len(stores[0])
    pivot, source = (store.scored(own, 0, count) for store, own in zip(stores, tokens, strict=True))
    expected = project(pivot.tokens, source, mapping, tables, settings)
    folder = finished.path("align/qwen")
    written = DistributionStore(folder)
    found = written.scored(tokens[0], 0, count)
    for name in ("logprobs", "tail", "present"):
        np.testing.assert_array_equal(getattr(found.topk, name), getattr(expected.topk, name))
    kept = found.topk.logprobs > -np.inf
    np.testing.assert_array_equal(found.topk.ids[kept], expected.topk.ids[kept])
    np.testing.assert_array_equal(found.label_logprob, expected.label_logprob)
    np.testing.assert_array_equal(written.column("kind", 0, count), expected.kind)
    held = load_file(folder / MAP)
    np.testing.assert_array_equal(held["target"], mapping.target)
    summary = finished.manifest("align/qwen").summary
    assert summary["rows"] == len(expected.kind) and summary["method"] == mapping.method
    assert summary["unaligned_share"] == pytest.approx((expected.kind == UNALIGNED).mean(), abs=1e-6)
    coverage = json.loads((folder / "coverage.json").read_text())
    assert set(coverage) >= {"used"}


@pytest.mark.parametrize("method", [BytePrefix(), Statistics()])
def test_partners_are_counted_over_the_whole_corpus(pair, method):
    tokens, stores, tables = pair
    settings, count = AlignSettings(vocabulary=method), len(stores[0])
    cut = [range(0, 3), range(3, count)]
    by_shard = make_map(settings, tokens, cut, *tables)
    whole = make_map(settings, tokens, [range(count)], *tables)
    np.testing.assert_array_equal(by_shard.target, whole.target)
    if isinstance(method, BytePrefix):
        assert (whole.target != build_map(tables[1], tables[0], method).target).any()  # the counts matter


def test_methods_without_partners_count_none(pair):
    _, _, tables = pair
    made = make_map(AlignSettings(vocabulary=Exact()), [], [], *tables)
    np.testing.assert_array_equal(made.target, build_map(tables[1], tables[0], Exact()).target)


def test_a_job_for_each_source_reads_tokens_and_captures(finished):
    job = finished.jobs["align/qwen"]
    assert job.needs == ("corpus/corpus", "represent/pivot", "represent/qwen")
    assert set(job.models) == {"pivot", "qwen"} and job.settings.source == "qwen"
    assert Inputs(finished.folder, job).folder("represent/qwen") == finished.path("represent/qwen")
