"""How captures are kept: the cut changes no value of what is made of them, an encoding only what it says."""

import shutil

import numpy as np
import pytest

from fusionchat.artifacts import read_manifest
from fusionchat.recipe.schema import load_recipe
from fusionchat.represent.store.codes import decode, encode
from fusionchat.represent.store.cut import cut
from fusionchat.represent.store.layout import SHARDS
from fusionchat.represent.store.read import DistributionStore
from fusionchat.represent.store.write import StoreWriter
from fusionchat.run.job import Context, Inputs
from fusionchat.runtime import RuntimeSettings
from fusionchat.stages.corpus import read_tokens
from fusionchat.stages.names import CORPUS
from fusionchat.stages.pipeline import STAGES, open_run, run

ROWS = {"pivot": 110, "mixtral": 60, "qwen": 10_000}


@pytest.fixture
def cut_again(finished, tiny):
    """A copy of the run whose captures are cut otherwise, each in its own way."""
    folder = tiny / "runs/tiny"
    shutil.copytree(finished.folder, folder)
    for name, rows in ROWS.items():
        tokens, own = read_tokens(folder / CORPUS, "train", name), folder / "represent" / name
        store = DistributionStore(finished.folder / "represent" / name)
        for path in own.glob(SHARDS):
            path.unlink()
        writer = StoreWriter(own, tokens.offsets, cut(tokens.offsets, rows), store.encoding)
        for index, members in enumerate(writer.ranges):
            writer.write_scored(index, store.scored(tokens, members.start, members.stop))
    return folder


def test_alignment_and_fusion_have_the_same_values_for_any_cut(finished, cut_again):
    jobs = open_run(load_recipe("recipe.yaml")).jobs
    for name in ("align/qwen", "align/mixtral", "fuse/qwen"):
        stage, out = name.split("/")[0], cut_again / name
        shutil.rmtree(out)
        context = Context(RuntimeSettings(device="cpu"))
        summary = STAGES[stage].work(jobs[name].settings, Inputs(cut_again, jobs[name]), out, context)
        assert summary == read_manifest(finished.folder / name).summary
        mine, theirs = DistributionStore(out), DistributionStore(finished.folder / name)
        assert mine.ranges == DistributionStore(cut_again / "represent/pivot").ranges
        assert len(mine.ranges) > 3 and len(mine) == len(theirs)
        for part in ("ids", "logprobs", "tail", "present"):
            one, other = (getattr(store.slice(0, len(store)), part) for store in (mine, theirs))
            np.testing.assert_array_equal(one, other)
        for column in set(theirs.shard(0).columns) - {"ids", "logprobs", "tail", "present"}:
            np.testing.assert_array_equal(*(store.column(column, 0, len(store)) for store in (mine, theirs)))


def test_the_encoding_rounds_what_it_says_and_goes_on_to_alignment_and_fusion(finished, tiny):
    """The label's log-probability is not rounded, so that bits per byte are as they were."""
    shutil.copytree(finished.folder, tiny / "runs/tiny")
    done = run(
        load_recipe("recipe.yaml", ("represent.logprobs=uint8", "represent.compression=zstd")), until="fuse"
    )
    for job in ("represent/pivot", "represent/qwen"):
        mine, theirs = DistributionStore(done.path(job)), DistributionStore(finished.path(job))
        one, other = (store.slice(0, len(store)) for store in (mine, theirs))
        np.testing.assert_array_equal(one.ids, other.ids)
        np.testing.assert_array_equal(one.logprobs, decode(encode(other.logprobs)))
        np.testing.assert_array_equal(one.tail, decode(encode(other.tail)))
        label = [store.column("label_logprob", 0, len(store)) for store in (mine, theirs)]
        np.testing.assert_array_equal(*label)
        assert done.manifest(job).summary["bits_per_byte"] == finished.manifest(job).summary["bits_per_byte"]
    for job in ("represent/qwen", "align/qwen", "fuse/qwen"):
        encoding = DistributionStore(done.path(job)).encoding
        assert (encoding.logprobs, encoding.compression) == ("uint8", "zstd")
    aligned, before = (DistributionStore(one.path("align/qwen")) for one in (done, finished))
    rows = [store.column("label_logprob", 0, len(store)) for store in (aligned, before)]
    np.testing.assert_allclose(*rows, atol=0.15)
    assert (rows[0] != rows[1]).any()
