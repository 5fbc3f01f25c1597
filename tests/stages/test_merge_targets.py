"""What merges of a run share."""

import shutil

import pytest

from fusionchat.artifacts import write_json
from fusionchat.errors import DamagedError
from fusionchat.hub import Place
from fusionchat.merge.methods.fisher import Fisher
from fusionchat.merge.methods.linear import Linear
from fusionchat.merge.methods.varm import Varm
from fusionchat.merge.settings import FusedSettings
from fusionchat.models.identity import folder_identity
from fusionchat.models.ref import ModelRef
from fusionchat.run import plan
from fusionchat.runtime import RuntimeSettings
from fusionchat.stages import merge_targets
from fusionchat.stages.merge_targets import merge_into, merged_from, models_in, read_by_merges
from fusionchat.stages.noise import NOISE, TRAINING
from tests.merge.folders import family, load
from tests.run.toy import chain, toy_run


def test_merges_read_the_pivot_and_the_folders_that_methods_name(tmp_path, monkeypatch):
    monkeypatch.setattr(plan, "IDENTITIES", dict.fromkeys(plan.IDENTITIES, lambda ref: ref.name))
    folders = [str(tmp_path / name) for name in "ba"]
    for folder in folders:
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "model.safetensors").write_text(folder)
    run = toy_run(tmp_path)
    content = read_by_merges(run, (Varm(), Fisher(fisher=tuple(folders)), Linear()))
    named = {folder: folder_identity(tmp_path / folder) for folder in folders}
    assert content.digests == {**run.model("pivot").digests, **run.generation("pivot").digests, **named}
    assert content.models == {"pivot": run.refs["pivot"]}
    assert read_by_merges(run, (Varm(),)).digests.keys() == content.digests.keys() - named.keys()


def test_a_merge_is_put_into_the_job_s_folder_with_the_pivot_s_tokenizer(tmp_path, monkeypatch):
    pivot, targets = family(tmp_path, 2)
    copied, done = [], []
    monkeypatch.setattr(
        merge_targets, "copy_tokenizer", lambda ref, folder: copied.append((ref.name, folder))
    )
    ref = ModelRef("pivot", str(pivot), str(pivot))
    fused, runtime = FusedSettings(dtype="float32", shard_gb=1e-6), RuntimeSettings(threads=1)
    merge_into(ref, targets, Linear(), tmp_path / "out", fused=fused, runtime=runtime, advance=done.append)
    made, held = load(tmp_path / "out/model"), [load(folder) for folder in targets.values()]
    for name, values in made.items():
        assert values == pytest.approx((held[0][name] + held[1][name]) / 2, rel=1e-6)
    assert copied == [("pivot", tmp_path / "out/model")] and sum(done) > 0
    assert len(list((tmp_path / "out/model").glob("*.safetensors"))) > 1  # 1,000 bytes a file
    merge_into(
        ref, targets, Varm(), tmp_path / "out", fused=fused, runtime=runtime
    )  # an earlier one is replaced
    assert load(tmp_path / "out/model")["lm_head.weight"] != pytest.approx(made["lm_head.weight"])


def test_a_merge_of_noisy_targets_says_so(tmp_path, capsys):
    pivot, targets = family(tmp_path / "family", 2)
    for name, folder in targets.items():
        shutil.copytree(folder, tmp_path / name / "model")
        write_json(tmp_path / name / TRAINING, {NOISE: 1.0})
    ref = ModelRef("pivot", str(pivot), str(pivot))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(merge_targets, "copy_tokenizer", lambda ref, folder: None)
        merge_into(
            ref,
            {name: tmp_path / name / "model" for name in targets},
            Varm(),
            tmp_path / "out",
            fused=FusedSettings(dtype="float32"),
            runtime=RuntimeSettings(threads=1),
        )
    assert "its shares may be off by" in " ".join(capsys.readouterr().err.split())


def test_models_of_jobs_are_as_they_were_written(tmp_path):
    from fusionchat.run.execute import make
    from fusionchat.run.job import Context

    run = chain(tmp_path, texts=("a",))
    make(run.jobs["toy/0"], tmp_path, run.stages, Context(RuntimeSettings()))
    folders = {"a": tmp_path / "toy/0"}
    assert models_in(folders) == {"a": tmp_path / "toy/0/model"}
    assert merged_from(Place(str(tmp_path / "toy/0"), path=tmp_path / "toy/0")) == tmp_path / "toy/0"
    (tmp_path / "toy/0/words.txt").write_text("other")
    with pytest.raises(DamagedError):
        merged_from(Place(str(tmp_path / "toy/0"), path=tmp_path / "toy/0"))
