"""Later rounds: their jobs, what changes them, and a round that goes on from a finished run."""

import json
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from fusionchat.answer import shards
from fusionchat.artifacts import read_json
from fusionchat.models.load import load_model
from fusionchat.models.ref import ModelRef
from fusionchat.recipe.schema import load_recipe
from fusionchat.represent.store.read import DistributionStore
from fusionchat.stages import answer
from fusionchat.stages.corpus import read_part, read_tokens
from fusionchat.stages.names import CORPUS, Row, Trained, answered, captured, corpus_of, distilled, fused
from fusionchat.stages.pipeline import needed, open_run, run, run_job
from fusionchat.stages.report import title
from fusionchat.stages.report_notes import answers_note
from fusionchat.stages.stored import open_stored
from tests.tiny import SETTINGS, write_recipe

OF = Trained(base="qwen", weight=0.5, round=2)
ONE_SOURCE = {"qwen": SETTINGS["sources"]["qwen"]}
ROUNDS = {"n": 2, "share": 0.25, "max_new_tokens": 12}


def planned(*settings):
    return open_run(load_recipe("recipe.yaml", settings))


def prints(run):
    return {job.id: job.fingerprint for job in run.jobs.values()}


def test_a_round_s_jobs_follow_the_target_and_change_no_job_of_the_first(tiny):
    write_recipe(tiny / "recipe.yaml", sources=ONE_SOURCE)
    first, both = prints(planned()), planned("rounds=3")
    found = prints(both)
    assert {job: found[job] for job in first if not job.startswith(("merge/", "report/"))} == {
        job: mark for job, mark in first.items() if not job.startswith(("merge/", "report/"))
    }
    assert [job for job in found if "round3" in job] == [
        "answer/round3/qwen@0.5", "represent/round3/qwen@0.5/pivot", "represent/round3/qwen@0.5/qwen",
        "align/round3/qwen@0.5/qwen", "fuse/round3/qwen@0.5", "distill/round3/qwen@0.5", "merge/round3/varm@0.5",
        "evaluate/test/targets/round3/qwen@0.5", "evaluate/test/round3/varm@0.5",
    ]  # fmt: skip
    assert both.jobs["answer/round3/qwen@0.5"].needs == (CORPUS, "distill/round2/qwen@0.5")
    assert "distill/round2/qwen@0.5" in both.jobs["distill/round3/qwen@0.5"].needs
    assert "merge/round3/varm@0.5" in both.jobs["merge/fused"].needs
    assert {job.id for job in needed(both, "represent")} == {CORPUS, "represent/pivot", "represent/qwen"}
    settings = ("share=0.3", "epochs=2", "temperature=0.5", "top_p=0.9", "max_new_tokens=7", "turns=each")
    for setting in settings:
        other = prints(planned("rounds=3", f"rounds.{setting}"))
        changed = {job for job in found if other[job] != found[job]}
        begins = "distill/" if setting.startswith("epochs") else "answer/"
        assert {f"{begins}round2/qwen@0.5"} <= changed, setting
        assert not {
            job for job in changed if "round" not in job and not job.startswith(("merge/", "report/"))
        }, setting


def test_later_rounds_capture_the_adapted_source(tiny):
    """It is adapted once: with the same adapter, a round's capture follows the round's answers and the adaption."""
    usual, adapted = planned("rounds=2"), planned("rounds=2", "adapt={sources: [qwen]}")
    more = planned("rounds=2", "adapt={sources: [qwen], epochs: 2}")
    first, later = "represent/qwen", captured("qwen", OF)
    assert [job for job in adapted.jobs if job.startswith("adapt/")] == ["adapt/qwen"]
    for name in (first, later):
        job = adapted.jobs[name]
        assert "adapt/qwen" in job.needs
        assert job.models["qwen"].adapter == str(adapted.path("adapt/qwen") / "model")
        assert len({run.jobs[name].fingerprint for run in (usual, adapted, more)}) == 3
    published = ("represent/mixtral", "evaluate/test/sources/qwen", answered(OF).replace("qwen@", "mixtral@"))
    assert all(usual.jobs[name].fingerprint == adapted.jobs[name].fingerprint for name in published)
    own = captured("pivot", OF)
    assert "adapt/qwen" not in adapted.jobs[own].needs and adapted.jobs[own].models["pivot"].adapter is None


@pytest.fixture
def begun(copied, tiny, monkeypatch):
    """A finished run of one round whose recipe now asks for two."""
    monkeypatch.setattr(shards, "SHARD", 2)
    write_recipe(tiny / "recipe.yaml", sources=ONE_SOURCE, rounds=ROUNDS)
    return load_recipe("recipe.yaml")


def test_a_round_goes_on_from_the_target_and_learns_its_answers(begun, copied, monkeypatch):
    made, real = [], shards.write_text

    def killed(path, text):
        if len(made) == 1 and path.name.startswith("answers-"):
            raise KeyboardInterrupt
        made.append(path)
        real(path, text)

    # 1. a target that is killed while it answers goes on with the same bits
    monkeypatch.setattr(shards, "write_text", killed)
    run(begun, until="corpus")
    with pytest.raises(KeyboardInterrupt):
        run_job(begun, answered(OF))
    first = made[0].stat().st_mtime_ns
    monkeypatch.setattr(shards, "write_text", real)
    run(begun, until="distill")
    assert made[0].stat().st_mtime_ns == first
    texts = {path.name: path.read_bytes() for path in (copied / answered(OF)).glob(shards.FILES)}
    assert len(texts) > 1
    shutil.rmtree(copied / answered(OF))
    done = run_job(begun, answered(OF))
    assert {path.name: path.read_bytes() for path in (copied / answered(OF)).glob(shards.FILES)} == texts

    # 2. the training part has its answers in place of the corpus's
    before, now = (read_part(copied / folder, "train") for folder in (CORPUS, corpus_of(OF)))
    own = answer.own_answers(copied / answered(OF))
    assert own == set(read_json(copied / answered(OF) / answer.OWN)["own"]) and 0 < len(own) < len(
        now
    ) == len(before)
    for index, (old, new) in enumerate(zip(before, now, strict=True)):
        assert old.id == new.id and (old == new) == (index not in own)
        if index in own:
            assert [m.content for m in new.messages[:-1]] == [m.content for m in old.messages[:-1]]
            assert not any(m.train for m in new.messages[:-1] if m.role == "assistant")
    tokens = [read_tokens(copied / folder, "train", "qwen") for folder in (CORPUS, corpus_of(OF))]
    other = next(i for i in range(len(now)) if i not in own)
    assert tokens[0][other].input_ids.tolist() == tokens[1][other].input_ids.tolist()

    # 3. the models have the weights in them that they have with the corpus's answers
    stores = [DistributionStore(copied / fused("qwen", of)) for of in (None, OF)]
    for index in range(len(now)):
        old, new = (store.column("weights", index, index + 1).mean(0) for store in stores)
        np.testing.assert_allclose(old, new, atol=2e-3)
    assert open_stored(copied, captured("qwen", OF)).conversations == now

    # 4. the training goes on from the first round's target
    weights = [
        load_model(
            ModelRef("x", str(f), str(f)), dtype=torch.float32, device=torch.device("cpu")
        ).lm_head.weight
        for f in (copied / distilled(one) / "model" for one in (OF.before, OF))
    ]
    base = copied.parent.parent / "input/models/pivot"
    pivot = load_model(
        ModelRef("p", str(base), str(base)), dtype=torch.float32, device=torch.device("cpu")
    ).lm_head.weight
    moved = [(one - pivot).norm() for one in weights]
    assert 0 < (weights[1] - weights[0]).norm() < moved[1] + moved[0] and not torch.equal(*weights)
    assert (weights[1] - pivot).flatten() @ (weights[0] - pivot).flatten() > 0.5 * moved[0] ** 2
    summary = done.manifest(answered(OF)).summary
    assert summary["answers"] == len(own) and json.dumps(summary)


def test_the_report_says_what_was_answered():
    summary = {"answers": 5, "questions": 8, "cut": 1, "rejects": {"an empty answer": 3}}
    inputs = SimpleNamespace(manifest=lambda _: SimpleNamespace(summary=summary))
    assert answers_note(inputs, OF) == (
        "Round 2: qwen@0.5 answered 5 of 8 questions, 1 of them cut; without an answer: 3 an empty answer."
    )
    row = Row(kind="target", base="qwen", weight=0.5, round=2)
    assert title(inputs, row) == "target qwen, λ 0.5, round 2"
