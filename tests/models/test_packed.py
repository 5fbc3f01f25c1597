"""Models that are one file."""

import pytest

from fusionchat.models.packed import packed
from fusionchat.models.ref import ModelRef


@pytest.mark.parametrize(
    ("model", "expected"),
    [("owner/name", False), ("owner/name:q4.gguf", True), ("FOLDER", False), ("FOLDER/m.gguf", True)],
)
def test_a_gguf_file_is_packed(tmp_path, model, expected):
    (tmp_path / "m.gguf").write_bytes(b"GGUF")
    assert packed(ModelRef("m", model.replace("FOLDER", str(tmp_path)), "t")) == expected
