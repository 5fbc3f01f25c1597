"""Merges of a run, and the jobs that are planned for them."""

import pytest
import torch

from fusionchat.evaluate.settings import EvaluateSettings
from fusionchat.merge.methods.linear import Linear
from fusionchat.merge.methods.varm import Varm
from fusionchat.merge.settings import FusedSettings
from fusionchat.recipe.schema import load_recipe
from fusionchat.stages.fused_model import Finish
from fusionchat.stages.merge import Merge, settings_of, so_far
from fusionchat.stages.pipeline import open_run
from fusionchat.stages.search import Found, Search, SearchTried
from fusionchat.stages.select_label_weight import Select
from tests.stages.recipes import recipe


def test_the_merge_is_varm_of_the_targets_deltas(finished):
    """The whole way from files to files against the formula written out."""
    from safetensors.torch import load_file

    def weights(path):
        return load_file(path / "model.safetensors")

    pivot = weights(finished.folder.parent.parent / "input" / "models" / "pivot")
    targets = [weights(finished.path(f"distill/{name}@0.5") / "model") for name in ("mixtral", "qwen")]
    fused = weights(finished.path("merge/fused") / "model")
    assert fused.keys() == pivot.keys()
    for name, base in pivot.items():
        delta = [(t[name] - base).double() for t in targets]
        square = torch.stack([(d**2).mean() for d in delta])
        share = square / square.sum() if square.sum() > 0 else square
        expected = base.double() + sum(w * d for w, d in zip(share, delta, strict=True))
        torch.testing.assert_close(fused[name].double(), expected, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(
    "settings",
    [
        Merge(merge=Linear(weight=(1.0, 2.0)), fused=FusedSettings(), targets=(("a", "distill/a@0.9"),)),
        Select(label_weights=(0.9, 0.5), compared="varm"),
        Search(search=SearchTried(candidates=(Varm(),), metric="bits_per_byte", minutes=None), evaluate=EvaluateSettings(),
               fused=FusedSettings(), targets=("a",)),
        Found(number=2, candidates=(Varm(), Linear()), fused=FusedSettings(), targets=("a",)),
        Finish(merge="varm", recipe=recipe()),
    ],
    ids=lambda settings: settings.kind,
)  # fmt: skip
def test_every_kind_of_merge_goes_to_json_and_back(settings):
    again = settings_of(settings.model_dump(mode="json"))
    assert type(again) is type(settings) and again.model_dump(mode="json") == settings.model_dump(mode="json")


def test_only_a_search_is_taken_up(tmp_path):
    search = Search(
        search=SearchTried(candidates=(Varm(), Linear()), metric="bits_per_byte", minutes=None),
        evaluate=EvaluateSettings(), fused=FusedSettings(), targets=("a",),
    )  # fmt: skip
    assert so_far(search, None, tmp_path) == "0 of 2 trials"
    assert so_far(Select(label_weights=(0.9,), compared=None), None, tmp_path) == ""


def test_jobs_of_a_sweep_with_two_seeds(tiny):
    """Every label weight and seed is merged; the first seed's are chosen among; the soup is of the SFT models."""
    settings = ("distill.sweep=[0.3]", "distill.seeds=2", "compare.sft_seeds=2", "compare.merges=[linear]")
    jobs = {
        job.name: job
        for job in open_run(load_recipe("recipe.yaml", settings)).jobs.values()
        if job.stage == "merge"
    }
    made = [
        f"{name}@{weight}{seed}"
        for seed in ("", "#2")
        for weight in (0.5, 0.3)
        for name in ("varm", "linear")
    ]
    assert list(jobs) == [*made, "sft#soup", "selection", "fused"]
    assert jobs["varm@0.3#2"].settings.targets == (
        ("mixtral", "distill/mixtral@0.3#2"),
        ("qwen", "distill/qwen@0.3#2"),
    )
    assert jobs["sft#soup"].settings.merge == Linear() and jobs["sft#soup"].needs == (
        "distill/sft",
        "distill/sft#2",
    )
    assert jobs["selection"].needs == ("evaluate/validation/varm@0.5", "evaluate/validation/varm@0.3")
    assert jobs["fused"].needs == ("merge/selection", "merge/varm@0.5", "merge/varm@0.3")
    assert jobs["fused"].rewritten == ("README.md",)
