"""The distributions of a finished run's jobs, with what they are of."""

import numpy as np
import pytest

from fusionchat.errors import ArtifactError
from fusionchat.models.load import load_tokenizer
from fusionchat.represent.store.read import DistributionStore
from fusionchat.stages.corpus import read_part
from fusionchat.stages.names import CORPUS
from fusionchat.stages.stored import open_stored, stored_jobs


@pytest.mark.parametrize(
    ("job", "model"), [("represent/qwen", "qwen"), ("align/qwen", "pivot"), ("fuse/qwen", "pivot")]
)
def test_rows_are_those_of_the_tokens_that_they_are_over(finished, job, model):
    stored = open_stored(finished.folder, job)
    assert (
        stored.ref.name == model
        and stored.job == job
        and stored.manifest.fingerprint == finished.jobs[job].fingerprint
    )
    conversations, store = read_part(finished.path(CORPUS), "train"), DistributionStore(finished.path(job))
    assert [c.id for c in stored.conversations] == [c.id for c in conversations]
    for index, example in enumerate(stored.examples(range(3))):
        assert example[:2] == (conversations[index].id, conversations[index].domain)
        assert len(example[3]) == store[index].rows and example[3].max() < len(example[2])
        np.testing.assert_array_equal(example[4].ids, store[index].ids)


def test_what_holds_for_all_of_them(finished):
    stored = open_stored(finished.folder, "fuse/qwen")
    tokenizer = load_tokenizer(stored.ref)
    about = stored.about()
    assert (about.job, about.model, about.k) == ("fuse/qwen", finished.refs["pivot"].model, 5)
    assert about.vocabulary == len(tokenizer) and about.end == tokenizer.eos_token_id
    assert about.longest == max(
        len(stored.rendered[index].input_ids) for index in range(len(stored.conversations))
    )


def test_jobs_that_are_done_are_listed(finished, tmp_path):
    assert stored_jobs(finished.folder, "fuse") == ["fuse/mixtral", "fuse/qwen"]
    assert stored_jobs(tmp_path, "fuse") == []


@pytest.mark.parametrize(
    ("job", "words"), [("merge/fused", "holds no distributions"), ("fuse/none", "no job 'fuse/none'")]
)
def test_what_holds_none_is_refused(finished, job, words):
    with pytest.raises(ArtifactError, match=words):
        open_stored(finished.folder, job)


def test_a_job_that_is_not_done_is_refused(copied):
    (copied / "fuse/qwen/manifest.json").unlink()
    with pytest.raises(ArtifactError, match="fuse/qwen is not done"):
        open_stored(copied, "fuse/qwen")
