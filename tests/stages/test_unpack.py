"""A pivot that is a GGUF file: unpacked once, and what comes of it is what comes of its folder."""

import torch
from safetensors.torch import load_file

from fusionchat.models.packed import packed
from fusionchat.recipe.schema import load_recipe
from fusionchat.run.estimate import parameters
from fusionchat.stages.check import check
from fusionchat.stages.pipeline import open_run, run
from tests.gguf_files import write_gguf

GGUF = ("pivot={model: p.gguf, tokenizer: input/models/pivot}", "sources.qwen=q.gguf", "name=packed")


def files(tiny):
    write_gguf(tiny / "input/models/pivot", tiny / "p.gguf")
    write_gguf(tiny / "input/models/qwen", tiny / "q.gguf")


def test_a_run_from_gguf_files_makes_the_same_targets(tiny, finished):
    files(tiny)
    recipe = load_recipe("recipe.yaml", (*GGUF, "compare.sft=false"))
    assert packed(recipe.refs()["pivot"])
    planned = open_run(recipe)
    unpack = planned.jobs["unpack/pivot"]
    assert unpack.cost.disk == 4 * parameters(recipe.refs()["pivot"])
    needing = {job.id for job in planned.jobs.values() if "unpack/pivot" in job.needs}
    assert {"represent/pivot", "distill/qwen@0.5", "merge/varm@0.5", "evaluate/test/pivot"} <= needing
    assert not needing & {"corpus/corpus", "represent/qwen", "fuse/qwen"}

    made = run(recipe, until="merge")
    for name in ("distill/qwen@0.5/model", "merge/varm@0.5/model"):
        ours = load_file(made.folder / name / "model.safetensors")
        theirs = load_file(finished.folder / name / "model.safetensors")
        assert ours.keys() == theirs.keys() and all(torch.equal(ours[key], theirs[key]) for key in ours)
    assert all(made.status(job).state == "done" for job in made.jobs.values() if job.stage == "unpack")

    (tiny / "p.gguf").rename(tiny / "moved.gguf")
    moved = open_run(load_recipe("recipe.yaml", (*GGUF, "compare.sft=false", "pivot.model=moved.gguf")))
    assert moved.status(moved.jobs["merge/varm@0.5"]).state == "done"


def test_check_says_what_is_made_of_a_file(tiny):
    files(tiny)
    found = check(load_recipe("recipe.yaml", GGUF), sample=4)
    assert found.opens == [
        "pivot: GGUF file of structure llama, 491 K parameters in 2 MB; tokenizer of input/models/pivot; "
        "written once into an ordinary folder of the run, 2 MB in float32",
        "qwen: GGUF file of structure qwen2, 543 K parameters in 2 MB; dequantized on loading; "
        "tokenizer and template of the file",
    ]
    assert found.unseen == []
