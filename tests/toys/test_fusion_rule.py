"""A new fusion rule is one file: the fuse stage of a run takes it from the recipe."""

import json
import shutil

import numpy as np
from safetensors.numpy import load_file

from tests.tiny import write_recipe
from tests.toys import toy


def test_a_new_fusion_rule_is_one_file(finished, tiny):
    assert toy.files("fusion_rule") == ["src/fusionchat/fuse/rules/equal_shares.py"]
    src = toy.apply("fusion_rule", tiny)
    shutil.copytree(finished.folder, tiny / "runs/tiny")
    write_recipe(tiny / "recipe.yaml", fuse={"method": "equal_shares", "pivot": 3})
    toy.python(src, "-m", "fusionchat", "fuse", "recipe.yaml", cwd=tiny)
    fell_back = 0
    for source in ("mixtral", "qwen"):
        manifest = json.loads((tiny / f"runs/tiny/fuse/{source}/manifest.json").read_text())
        assert manifest["settings"]["fuse"]["method"] == "equal_shares"
        arrays = load_file(tiny / f"runs/tiny/fuse/{source}/shard-00000.safetensors")
        weights, fallback = arrays["weights"], arrays["fallback"]
        assert np.unique(weights[~fallback], axis=0).tolist() == [[0.75, 0.25]]
        assert (weights[fallback] == [1, 0]).all()
        fell_back += int(fallback.sum())
    assert fell_back > 0
