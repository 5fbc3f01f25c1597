"""A new merge method is one file: it is chosen by its name, with its settings, from Python and from the command line."""

import json

import numpy as np
from safetensors.numpy import load_file, save_file

from tests.toys import toy

CODE = """
import fusionchat
targets = {"a": "a", "b": "b"}
fusionchat.merge("pivot", targets, "closest", "near", dtype="float32", threads=1)
fusionchat.merge("pivot", targets, "closest", "far", settings=["farthest=true"], dtype="float32", threads=1)
try:
    fusionchat.merge("pivot", targets, "closets", "none")
except fusionchat.FusionChatError as error:
    print(error)
"""


def write(folder, left, right):
    folder.mkdir()
    tensors = {
        "left.weight": np.full((2, 3), left, np.float32),
        "right.weight": np.full(4, right, np.float32),
    }
    save_file(tensors, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps({"model_type": "llama"}))


def test_a_new_merge_method_is_one_file(tmp_path):
    assert toy.files("merge_method") == ["src/fusionchat/merge/methods/closest.py"]
    src = toy.apply("merge_method", tmp_path)
    write(tmp_path / "pivot", 1.0, 1.0)
    write(tmp_path / "a", 1.25, 3.0)
    write(tmp_path / "b", 0.5, 1.75)
    printed = toy.python(src, "-c", CODE, cwd=tmp_path)
    assert "did you mean 'closest'?" in printed
    for folder, left, right in (("near", 1.25, 1.75), ("far", 0.5, 3.0)):
        fused = load_file(tmp_path / folder / "model.safetensors")
        assert set(fused["left.weight"].ravel()) == {left} and set(fused["right.weight"]) == {right}
