"""Fingerprints: every setting that changes what a job writes is in its fingerprint, and no other."""

import json
import shutil

import pytest

from fusionchat.artifacts import Manifest, fingerprint, finish, read_manifest, write_json
from fusionchat.recipe.schema import load_recipe
from fusionchat.run.job import Job, Resources
from fusionchat.settings import Frozen
from fusionchat.stages import corpus
from fusionchat.stages.pipeline import open_run, run
from fusionchat.yaml import parse_value, to_yaml
from tests.tiny import SETTINGS, copy_input, write_recipe

EXACT = {"answer_pattern": "(?s)(.*)", "max_new_tokens": 2}


def fingerprints(*settings):
    planned = open_run(load_recipe("recipe.yaml", settings))
    return {job.id: job.fingerprint for job in planned.jobs.values()}


def changed(before, after):
    return {job for job in before.keys() & after.keys() if before[job] != after[job]}


def plan_all(tiny, **changes):
    """A recipe with search, exact match, a sweep and comparisons."""
    recipe = {
        "distill": SETTINGS["distill"] | {"sweep": [0.3]},
        "search": {"metric": "exact_match"},
        "evaluate": {"exact_match": EXACT},
        "compare": {"sft": True, "all_sources": True, "merges": ["karcher"]},
    }
    write_recipe(tiny / "recipe.yaml", **(recipe | changes))


def test_another_merge_is_tried_by_the_search(tiny):
    plan_all(tiny, distill=SETTINGS["distill"])
    moved = changed(fingerprints(), fingerprints("merge.method=linear"))
    assert moved == {"merge/search", "merge/fused", "evaluate/test/search", "report/report"}


@pytest.mark.parametrize("key", ["max_new_tokens=3", "answer_pattern='(.)'", "limit=2"])
def test_a_search_by_exact_match_follows_its_settings(tiny, key):
    plan_all(tiny)
    moved = changed(fingerprints(), fingerprints(f"evaluate.exact_match.{key}"))
    assert {"merge/search", "merge/fused", "evaluate/test/search", "evaluate/test/pivot"} <= moved
    assert not any(job.startswith(("corpus", "represent", "distill")) for job in moved)
    plan_all(tiny, search={"metric": "bits_per_byte"})
    assert "merge/search" not in changed(fingerprints(), fingerprints(f"evaluate.exact_match.{key}"))


@pytest.mark.parametrize(
    ("setting", "first"),
    [
        ("seed=3", "distill/sft"),
        ("represent.k=4", "represent/pivot"),
        ("represent.dtype=bfloat16", "represent/mixtral"),
        ("evaluate.dtype=bfloat16", "evaluate/validation/varm@0.5"),
        ("evaluate.dtype=float16", "merge/search"),
        ("align.min_mass=0.3", "align/qwen"),
        ("fuse.method=mean_ce", "fuse/all"),
        ("distill.weight_decay=0.1", "distill/all@0.3"),
        ("distill.tail=renormalize", "distill/qwen@0.5"),
        ("distill.precision=bf16", "distill/sft"),
        ("distill.sweep=[0.2]", "merge/selection"),
        ("search.minutes=3", "merge/search"),
        ("search.candidates=[linear]", "merge/search"),
        ("fused.dtype=bfloat16", "merge/karcher@0.3"),
        ("corpus.max_tokens=90", "corpus/corpus"),
        ("corpus.train.format=messages", "corpus/corpus"),
        ("corpus.test=0.1", "corpus/corpus"),
        ("pivot.template=pivot.jinja", "distill/sft"),
        ("compare.sft=false", "report/report"),
    ],
)
def test_a_setting_changes_the_first_job_that_uses_it_and_what_follows(tiny, setting, first):
    plan_all(tiny, corpus=SETTINGS["corpus"] | {"train": {"path": "input/corpus/train.jsonl"}})
    (tiny / "pivot.jinja").write_text("{{ messages }}")
    moved = changed(fingerprints(), fingerprints(setting))
    assert first in moved and "report/report" in moved


@pytest.mark.parametrize(
    "setting",
    ["batch_tokens=9", "micro_batch_tokens=1", "checkpoint_steps=7", "threads=2"],
)
def test_no_runtime_setting_changes_a_fingerprint(tiny, setting):
    plan_all(tiny)
    assert changed(fingerprints(), fingerprints(f"runtime.{setting}")) == set()


def test_the_order_of_sources_is_that_of_a_merge_s_weights(tiny):
    """``weight: [1, 2]`` goes by position, and of equal sources the first is taken."""
    plan_all(tiny)
    before = fingerprints()
    tree = parse_value((tiny / "recipe.yaml").read_text(), where="")
    tree["sources"] = dict(reversed(tree["sources"].items()))
    (tiny / "recipe.yaml").write_text(to_yaml(tree))
    moved = changed(before, fingerprints())
    assert {"fuse/all", "merge/varm@0.5", "merge/search"} <= moved
    assert not {"fuse/mixtral", "distill/mixtral@0.5", "represent/qwen"} & moved


def test_a_corpus_file_s_name_is_in_made_up_ids_and_its_ending_is_its_format(tiny):
    copy_input(tiny)
    before = fingerprints()
    path = tiny / "input/corpus/train.jsonl"
    path.rename(path.with_suffix(".txt"))
    assert "corpus/corpus" in changed(before, fingerprints("corpus.train=input/corpus/train.txt"))


def test_generation_settings_go_into_what_is_made_of_the_pivot(tiny):
    copy_input(tiny)
    before = fingerprints()
    path = tiny / "input/models/pivot/generation_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"temperature": 0.3}))
    moved = changed(before, fingerprints())
    assert {"distill/sft", "merge/varm@0.5"} <= moved and "represent/pivot" not in moved


@pytest.mark.parametrize(
    "name", ["chat_template.json", "additional_chat_templates/tools.jinja", "spiece.model"]
)
def test_every_file_of_a_tokenizer_identifies_it(tiny, name):
    copy_input(tiny)
    before = fingerprints()
    path = tiny / "input/models/qwen" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text("{}")
    assert "represent/qwen" in changed(before, fingerprints())


def test_label_weights_that_look_alike_are_told_apart(tiny):
    plan_all(tiny, distill=SETTINGS["distill"] | {"sweep": [0.1234567, 0.12345671]})
    assert {"distill/qwen@0.1234567", "distill/qwen@0.12345671"} <= fingerprints().keys()


def test_a_stage_s_version_makes_its_jobs_stale_and_plan_says_so(tiny, monkeypatch):
    recipe = load_recipe("recipe.yaml")
    run(recipe, until="corpus")
    before = fingerprints()
    monkeypatch.setattr(corpus, "VERSION", corpus.VERSION + 1)
    again = open_run(recipe)
    status = again.status(again.jobs["corpus/corpus"])
    assert (status.state, status.changed) == (
        "stale",
        (f"corpus: version {corpus.VERSION - 1} -> {corpus.VERSION}",),
    )
    assert "corpus/corpus" in changed(before, fingerprints())


@pytest.mark.parametrize("stage", ["represent", "align", "fuse", "distill", "merge", "evaluate", "report"])
def test_every_stage_has_a_version(tiny, monkeypatch, stage):
    before = fingerprints()
    monkeypatch.setattr(f"fusionchat.stages.{stage}.VERSION", 1000)
    after = fingerprints()
    moved = changed(before, after)
    assert {job for job in before if job.startswith(f"{stage}/")} <= moved
    assert "corpus/corpus" not in moved


def test_a_version_is_no_setting():
    """A setting called ``version`` cannot stand in for it."""
    assert fingerprint({"settings": {"version": 1}, "version": 2}, {}) != fingerprint(
        {"settings": {"version": 2}, "version": 1}, {}
    )


@pytest.fixture
def half(tiny, finished):
    """A copy of a finished run, of which jobs can be made half-done."""
    shutil.copytree(finished.folder, tiny / "runs/tiny")

    def begin_again(job):
        folder = tiny / "runs/tiny" / job
        mark = read_manifest(folder).fingerprint
        (folder / "manifest.json").unlink()
        write_json(folder / "progress.json", {"fingerprint": mark})
        return folder

    return begin_again


def test_plan_says_how_far_a_begun_job_is(half, capsys, monkeypatch):
    from fusionchat import console
    from fusionchat.cli.verbs import guarded

    monkeypatch.setattr(console._out, "_width", 200)
    half("represent/qwen")
    training = half("distill/sft")
    (training / "training.json").unlink()
    (training / "checkpoints/checkpoint-2").mkdir(parents=True)
    (training / "checkpoints/checkpoint-2/trainer_state.json").write_text('{"max_steps": 6}')
    half("align/qwen")
    assert guarded(["plan", "recipe.yaml"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "represent/qwen │ begun, 1 of 1 shard" in text
    assert "distill/sft │ begun, checkpoint at step 2 of 6" in text
    assert "align/qwen │ begun │" in text
    assert "3 of " in text and "checkpoints of one training included" in text


def test_what_was_begun_with_other_settings_is_to_do(half):
    half("represent/qwen")
    planned = open_run(load_recipe("recipe.yaml", ("represent.k=4",)))
    assert planned.status(planned.jobs["represent/qwen"]).state == "to do"
    planned = open_run(load_recipe("recipe.yaml"))
    assert str(planned.status(planned.jobs["represent/qwen"])) == "begun, 1 of 1 shard"


def test_a_search_says_how_many_trials_it_has_made(tiny):
    from fusionchat.merge.search import kept_trials
    from fusionchat.stages.search import trials_so_far

    assert trials_so_far(tiny / "none", 4) == "0 of 4 trials"
    write_json(tiny / "t" / "trials.json", {"mark": "m", "trials": {"a": {}, "b": {}, "c": {}}})
    assert trials_so_far(tiny / "t", 17) == "3 of 17 trials" and kept_trials(tiny / "t") == 3
    (tiny / "t" / "trials.json").write_text("{")
    assert kept_trials(tiny / "t") == 0


def test_a_change_is_said_as_the_user_made_it(tiny):
    """The key of the recipe, what of a model's files changed, and what is not used any more."""
    plan_all(tiny)
    for job in open_run(load_recipe("recipe.yaml")).jobs.values():
        made = Manifest(job.fingerprint, job.hashed, job.inputs, {}, version=job.version)
        finish(tiny / "runs/tiny" / job.id, made)

    def why(job, *settings):
        planned = open_run(load_recipe("recipe.yaml", settings))
        return planned.status(planned.jobs[job]).changed

    shorter = "evaluate.exact_match.max_new_tokens"
    assert why("evaluate/test/pivot", f"{shorter}=1") == (f"{shorter}: 2 -> 1",)
    source = next(iter(load_recipe("recipe.yaml").sources))
    with (tiny / "t.jinja").open("w") as file:
        file.write("{{ messages }}")
    told = why("corpus/corpus", f"sources.{source}.template=t.jinja")
    assert told == (f"tokenizer, template or thinking of {source} changed",)
    assert "evaluate/test/karcher@0.5 is not used any more" in why("report/report", "compare.merges=[]")


def test_a_job_is_followed_by_the_files_that_are_read_of_it():
    job = Job(stage="corpus", name="corpus", version=1, settings=Frozen(), stands_for=("a", "b"))

    def digest(files, read, mark=job.fingerprint):
        return job.digest(Manifest(mark, {}, {}, files), read)

    one = {"a": "1", "b": "2", "other": "3"}
    assert digest(one, ("a",)) == digest(one | {"b": "9"}, ("a",)) != digest(one | {"a": "9"}, ("a",))
    assert digest(one, ()) == digest(one | {"other": "9"}, ()) != digest(one | {"b": "9"}, ())
    assert digest(one, ("a",), "older") == job.digest(None) == job.fingerprint
    with pytest.raises(AssertionError, match="not followed by"):
        digest(one, ("other",))


def test_auto_is_a_process_for_each_gpu_of_one_machine():
    auto, four = Resources(gpus=1, processes="auto"), Resources(gpus=4, processes=4)
    assert [(auto.processes_on(n), auto.gpus_on(n)) for n in (0, 1, 8)] == [(1, 1), (1, 1), (8, 8)]
    assert (four.processes_on(8), four.gpus_on(8)) == (4, 4)
    assert Resources(processes="auto").processes_on(8) == 1 and Resources(gpus=2).gpus_on(8) == 2
