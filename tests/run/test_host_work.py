"""What jobs without a GPU need of a machine, and how long they take."""

import pytest

from fusionchat.merge.stream.memory import private_bytes
from fusionchat.recipe.schema import load_recipe
from fusionchat.run.assumed import Assumed, assuming
from fusionchat.run.host_work import host_memory, host_seconds
from fusionchat.run.job import Cost, Job, Resources
from fusionchat.settings import Frozen

TOKENS = 63e6


def job(stage, disk=None, **resources):
    own = Resources(**resources)
    return Job(stage=stage, name="x", version=1, settings=Frozen(), cost=Cost(disk), resources=own)


@pytest.fixture
def asked(tiny):
    """A function of a job and settings, of a corpus with as many tokens as the paper's."""

    def ask(what, one, *settings):
        recipe = load_recipe("recipe.yaml", settings)
        with assuming(Assumed(tokens=TOKENS)):
            return what(one, recipe, recipe.refs())

    return ask


def test_memory_grows_with_the_corpus_and_with_a_shard(asked):
    assert asked(host_memory, job("corpus")) == pytest.approx(0.7e9 + 18 * 3 * TOKENS)
    aligned = asked(host_memory, job("align"))
    assert 0.7e9 + 11 * TOKENS < aligned < 2e9
    more = asked(host_memory, job("fuse"), "represent.k=6") - asked(host_memory, job("fuse"), "represent.k=5")
    assert more == 2 * 128 * 2**16  # rows of a shard of a small pivot


def test_a_merge_takes_its_blocks_and_other_jobs_what_they_say(asked):
    assert asked(host_memory, job("merge", threads=4)) == 0.7e9 + private_bytes(2, 0, width=4, threads=4)
    assert asked(host_memory, job("unpack", memory=31e9)) == 31e9
    assert asked(host_memory, job("report")) == 2e9


def test_time_is_that_of_tokens_rows_or_what_is_written(asked):
    assert asked(host_seconds, job("corpus")) == pytest.approx(3 * TOKENS / 250e3)
    assert asked(host_seconds, job("align")) == asked(host_seconds, job("fuse")) == pytest.approx(210)
    assert asked(host_seconds, job("merge", 14e9)) == pytest.approx(70)
    assert asked(host_seconds, job("represent", 4e9)) == 0 and asked(host_seconds, job("merge")) is None


def test_a_corpus_that_is_not_here_says_nothing(tiny):
    recipe = load_recipe("recipe.yaml", ("corpus.train=org/name",))
    for what in (host_memory, host_seconds):
        assert [what(job(stage), recipe, recipe.refs()) for stage in ("corpus", "align")] == [None, None]
