"""What is in one file, and one clear message where it is damaged or of another kind."""

import json
import struct

import pytest

from fusionchat.errors import ArtifactError, DamagedError, ModelError
from fusionchat.represent.store.layout import Encoding, shard_path
from fusionchat.represent.store.write import write_store
from fusionchat.stages.export import ABOUT
from fusionchat.stages.show import describe, show_conversation
from fusionchat.stages.show_file import MOST, describe_file
from tests.build import make_scored


def test_records_are_counted_and_the_first_is_shown(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('\n{"id": "x", "n": {"m": 2}}\n\n{"id": "y"}\n')
    assert describe_file(path).facts == {"records": "2", "id": "x", "n.m": "2"}
    path.write_text("")
    assert describe_file(path).facts == {"records": "0"}
    path.write_text("[1, 2]\n")
    assert describe_file(path).facts == {"records": "1", "JSON": "[1, 2]"}


def test_long_values_are_shown_in_part(tmp_path):
    path = tmp_path / "a.json"
    path.write_text(json.dumps(list(range(1000))))
    shown = describe_file(path).facts["JSON"]
    assert (
        shown.startswith("[0, 1, 2") and shown.endswith(" ... (4,890 characters)") and len(shown) < MOST + 30
    )
    path.write_text(json.dumps({"many": list(range(1000)), "few": [1, 2]}))
    assert describe_file(path).facts == {"many": shown, "few": "[1, 2]"}


@pytest.mark.parametrize("data", [b"not JSON", b"\xff\xfe{}", b'{"a": '])
@pytest.mark.parametrize("name", ["a.json", "a.jsonl"])
def test_what_is_no_json_is_said(tmp_path, name, data):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(ArtifactError, match="This is not JSON, or it is damaged") as caught:
        describe(str(tmp_path / name))
    assert caught.value.where == str(tmp_path / name)


def test_a_model_s_broken_configuration_is_not_a_job_s(tmp_path):
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ArtifactError, match=r"config\.json") as caught:
        describe(str(tmp_path))
    assert "remove" not in caught.value.do


def text(value: str) -> bytes:
    return struct.pack("<Q", len(value)) + value.encode()


def test_a_gguf_file_is_shown_by_its_header(tmp_path):
    path = tmp_path / "a.gguf"
    tensors = b"".join(
        text(name) + struct.pack("<I2QIQ", 2, 3, rows, 0, 0) for name, rows in (("x", 5), ("y", 400))
    )
    values = text("general.architecture") + struct.pack("<I", 8) + text("qwen2")
    path.write_bytes(b"GGUF" + struct.pack("<IQQ", 3, 2, 1) + values + tensors)
    shown = describe(str(path))
    assert shown.what.startswith("A GGUF file")
    assert shown.facts == {"structure": "qwen2", "parameters": "1,215 in 2 tensors", "size": "151 B"}
    path.write_bytes(b"GGUF")
    with pytest.raises(ModelError, match="not a GGUF file, or it is cut short"):
        describe(str(path))


def test_what_no_run_can_make_again_is_not_to_be_removed(tmp_path):
    folder = tmp_path / "downloads"
    write_store(folder, make_scored(0, [3]), rows=9, encoding=Encoding(11))
    path = shard_path(folder, 0)
    path.write_bytes(path.read_bytes()[:-1] + b"?\0")
    for place in (path, folder):
        with pytest.raises(ArtifactError, match="damaged") as caught:
            describe(str(place))
        assert not isinstance(caught.value, DamagedError) and caught.value.do.startswith("get it again")
    (tmp_path / "jobs").mkdir()
    with pytest.raises(DamagedError, match=f"remove {folder} and run again"):
        describe(str(path))


def test_an_export_is_known(tmp_path):
    (tmp_path / ABOUT).write_text('{"format": "parquet", "k": 5}')
    shown = describe(str(tmp_path))
    assert (shown.what, shown.facts) == ("Distributions for another trainer", {"format": "parquet", "k": "5"})


def test_a_store_at_a_url_has_no_conversations(tmp_path):
    with pytest.raises(ArtifactError, match="not in a run") as caught:
        show_conversation("memory://run/qwen", "0")
    assert caught.value.where == "memory://run/qwen"
