"""A run's jobs: what each follows, where it is, and whether it is done."""

import os

import pytest

from fusionchat.artifacts import begin, fingerprint, read_manifest
from fusionchat.run import plan as module
from fusionchat.run.execute import make
from fusionchat.run.job import Content, Context, Place
from fusionchat.run.plan import _flat, changes, differences
from fusionchat.runtime import RuntimeSettings
from tests.run.toy import Words, chain, toy_run

CONTEXT = Context(RuntimeSettings(device="cpu"))


def make_all(planned):
    for job in planned.jobs.values():
        make(job, planned.folder, planned.stages, CONTEXT)


@pytest.fixture
def identified(monkeypatch):
    """Identities are words; what was asked for."""
    asked = []

    def identity_of(what):
        return lambda ref: asked.append((what, ref.name)) or f"{what} of {ref.name}"

    monkeypatch.setattr(module, "IDENTITIES", {what: identity_of(what) for what in module.IDENTITIES})
    return asked


def test_a_model_is_identified_once(tmp_path, identified):
    run = toy_run(tmp_path)
    content = (
        run.model("pivot") | run.generation("pivot") | run.tokenizer("pivot") | run.configuration("source")
    )
    assert content.digests == {
        "model pivot": "model of pivot", "tokenizer, template or thinking of pivot": "tokenizer of pivot",
        "generation settings of pivot": "generation of pivot", "configuration of source": "configuration of source",
    }  # fmt: skip
    assert content.models == run.refs and len(identified) == 4  # the tokenizer was asked for twice
    assert run.follows("source") == Content(models={"source": run.refs["source"]}) and len(identified) == 4


def test_a_job_has_the_digests_of_what_it_needs_and_the_places_of_what_it_reads(tmp_path, identified):
    run = toy_run(tmp_path)
    one = run.add("toy", "one", Words())
    content = run.model("pivot") | Content(
        {"corpus.train": "f"}, files={"corpus.train": Place(path="t.jsonl")}
    )
    two = run.add("toy", "two", Words(text="b"), needs=("toy/one",), content=content, memory=5.0)
    digests = {
        "model pivot": "model of pivot",
        "tokenizer, template or thinking of pivot": "tokenizer of pivot",
    }
    assert two.inputs == {**digests, "corpus.train": "f", "toy/one": one.fingerprint}
    assert two.models == {"pivot": run.refs["pivot"]} and two.files["corpus.train"].path == "t.jsonl"
    assert two.version == 3 and two.resources.threads == 1 and two.resources.memory == 5.0
    assert run.path(two.id) == tmp_path / "toy/two" and list(run.jobs) == ["toy/one", "toy/two"]
    with pytest.raises(AssertionError, match="planned twice"):
        run.add("toy", "one", Words())
    with pytest.raises(AssertionError, match="reads what it does not need"):
        run.add("toy", "three", Words(), reads={"toy/one": ("words.txt",)})


@pytest.mark.parametrize(
    ("device", "on_device", "gpus"),
    [("auto", True, 1), ("cuda:1", True, 1), ("cpu", True, 0), ("auto", False, 0)],
)
def test_a_gpu_is_asked_for_where_the_recipe_may_use_one(tmp_path, device, on_device, gpus):
    assert (
        toy_run(tmp_path, device=device).add("toy", "one", Words(), on_device=on_device).resources.gpus
        == gpus
    )


def test_a_model_that_a_job_unpacks_is_read_from_there(tmp_path, identified):
    run = toy_run(tmp_path)
    unpacking = run.add("toy", "unpack", Words(), content=run.tokenizer("source"))
    run.unpacked["source"] = unpacking.id
    folder = str(tmp_path / "toy/unpack/model")
    assert (run.read("source").model, run.read("source").tokenizer) == (folder, folder)
    reader = run.add("toy", "reader", Words(), content=run.model("source"))
    assert reader.needs == ("toy/unpack",) and reader.models["source"].model == folder
    assert run.add("toy", "other", Words(), content=run.tokenizer("source")).needs == ()


def test_what_a_job_wrote_is_followed_by_file(tmp_path):
    """Before it is done its fingerprint stands for it; then the content of the files that are read."""
    before = chain(tmp_path, texts=("a", "b"), stands_for=("words.txt", "notes.txt"))
    assert before.jobs["toy/1"].inputs["toy/0"] == before.jobs["toy/0"].fingerprint
    make(before.jobs["toy/0"], tmp_path, before.stages, CONTEXT)
    files = read_manifest(tmp_path / "toy/0").files
    run = toy_run(tmp_path)
    run.add("toy", "0", Words(), stands_for=("words.txt", "notes.txt"))
    whole = run.add("toy", "1", Words(), needs=("toy/0",))
    part = run.add("toy", "2", Words(), needs=("toy/0",), reads={"toy/0": ("words.txt",)})
    assert whole.inputs["toy/0"] == fingerprint({}, files)
    assert part.inputs["toy/0"] == fingerprint({}, {"words.txt": files["words.txt"]})
    assert part.reads == {"toy/0": ("words.txt",)} and whole.reads == {"toy/0": ("words.txt", "notes.txt")}


def test_the_state_of_a_job(tmp_path):
    run = chain(tmp_path)
    one, two, three = run.jobs.values()
    assert run.status(one).state == "to do"
    make_all(run)
    assert [run.status(job).state for job in run.jobs.values()] == ["done"] * 3
    assert run.manifest(two.id).summary == {"length": 2}
    (tmp_path / "toy/1/words.txt").unlink()
    assert run.status(two) == ("damaged", ("words.txt is missing",), "")
    assert [error.path for error in run.damage(two)] == [tmp_path / "toy/1/words.txt"]
    begin(tmp_path / "toy/2", three.fingerprint)
    assert run.status(three) == ("begun", (), "")
    (tmp_path / "toy/2/half.txt").write_text("")
    assert str(run.status(three)) == "begun, 1 of 2 words"
    with pytest.raises(AssertionError, match="toy/2 is not done"):
        run.manifest(three.id)


def test_only_a_thorough_look_reads_every_file(tmp_path):
    run = chain(tmp_path, texts=("a",))
    make_all(run)
    path = tmp_path / "toy/0/words.txt"
    status = path.stat()
    path.write_text("b")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert run.status(run.jobs["toy/0"]).state == "done"
    run.verify = True
    assert run.status(run.jobs["toy/0"]).state == "damaged"


def test_a_stale_job_says_what_changed(tmp_path):
    before = chain(tmp_path)
    make_all(before)
    after = chain(tmp_path, texts=("x", "b", "c"))
    assert [after.status(job).state for job in after.jobs.values()] == ["stale"] * 3
    said = [changes(read_manifest(tmp_path / job.id), job) for job in after.jobs.values()]
    assert said == [("text: a -> x",), ("follows toy/0",), ("follows toy/1",)]


def test_what_a_job_itself_changed_comes_before_what_it_follows(tmp_path, identified):
    def plan(text, content, version=3):
        run = toy_run(tmp_path)
        run.stages["toy"].VERSION = version
        run.add("toy", "0", Words(text=text))
        run.add("toy", "1", Words(), needs=("toy/0",), content=content)
        return run

    run = plan("a", Content({"model pivot": "1", "old": "1"}))
    make_all(run)
    job = plan("b", Content({"model pivot": "2"}), version=4).jobs["toy/1"]
    assert changes(read_manifest(tmp_path / "toy/1"), job) == (
        "toy: version 3 -> 4", "old is not used any more", "model pivot changed",
    )  # fmt: skip


def test_entries_of_a_list_are_compared_one_by_one():
    one, two = {"path": "a", "limit": None}, {"path": "b", "filter": {"lang": "en"}}
    before = _flat({"corpus": {"train": [one, two], "k": [1, 2]}})
    assert before == {
        "corpus.train.0": True, "corpus.train.0.path": "a", "corpus.train.0.limit": None,
        "corpus.train.1": True, "corpus.train.1.path": "b", "corpus.train.1.filter.lang": "en",
        "corpus.k": [1, 2],
    }  # fmt: skip

    def said(train, k=(1, 2)):
        return differences(before, _flat({"corpus": {"train": train, "k": list(k)}}))

    assert said([one, two]) == []
    assert said([one | {"limit": 5}, two]) == ["corpus.train.0.limit: None -> 5"]
    assert said([one, two | {"filter": {"lang": "de"}}], (1,)) == [
        "corpus.k: [1, 2] -> [1]", "corpus.train.1.filter.lang: en -> de",
    ]  # fmt: skip
    assert said([one, two, one]) == ["corpus.train.2 is new"] and said([one]) == ["corpus.train.1 is gone"]
    assert differences({"recipe.seed": 1}, {"recipe.seed": 2}) == ["seed: 1 -> 2"]


def test_a_job_of_ranks_has_a_gpu_for_each_of_its_processes(tmp_path):
    asked = []
    for processes, parallel in (("auto", "ranks"), (4, "ranks"), (4, "one")):
        planned = toy_run(tmp_path, device="cuda", training={"processes": processes})
        job = planned.add("toy", "one", Words(), on_device=True, parallel=parallel)
        asked.append((job.resources.processes, job.resources.gpus))
    assert asked == [("auto", 1), (4, 4), (1, 1)]
