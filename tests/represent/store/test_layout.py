"""docs/formats.md: its code alone, with safetensors and NumPy, reads what the store writes; what it says of bytes is so."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import xxhash

from fusionchat.represent.store.layout import Encoding, shard_path
from fusionchat.represent.store.read import DistributionStore
from fusionchat.represent.store.write import StoreWriter
from tests.build import make_scored

PAGE = (Path(__file__).parents[3] / "docs/formats.md").read_text(encoding="utf-8")


@pytest.fixture(params=[Encoding(11), Encoding(70_000, "uint8"), Encoding(70_000, compression="zstd"),
                        Encoding(11, "uint8", "zstd")], ids=str)  # fmt: skip
def written(request, tmp_path, monkeypatch):
    monkeypatch.setattr("fusionchat.represent.store.write.block_rows", lambda widths: 4)
    whole = make_scored(0, [3, 0, 9], k=4, present=np.arange(12) % 4 > 0)
    writer = StoreWriter(tmp_path, whole.tokens.offsets, [range(3)], request.param, "mark")
    writer.write_scored(0, whole, {"kind": np.arange(12, dtype=np.uint8)})
    return tmp_path


def test_the_page_s_code_reads_a_shard(written):
    names = {}
    exec(re.search(r"```python\n(.*?)```", PAGE, re.DOTALL).group(1), names)
    offsets, columns = names["read_shard"](shard_path(written, 0))
    store = DistributionStore(written)
    assert offsets.tolist() == [0, 3, 3, 12]
    for name in ("ids", "logprobs", "tail", "present"):
        np.testing.assert_array_equal(columns[name], getattr(store.slice(0, 3), name))
    for name in ("label_logprob", "kind"):
        np.testing.assert_array_equal(columns[name], store.column(name, 0, 3))


def test_the_layout_and_checksums_are_as_the_page_says(written):
    data = shard_path(written, 0).read_bytes()
    end = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:end])
    about = json.loads(header.pop("__metadata__")["store"])
    assert end % 64 == 0 and about["format"] in PAGE and about["made_by"] == "mark"
    assert about["conversations"] == [0, 3, 3] and about["rows"] == [0, 12, 12] and about["shard"] == [0, 1]
    places = {name: [end + at for at in entry["data_offsets"]] for name, entry in header.items()}
    tensor = {name: np.frombuffer(data[a:b], np.uint8) for name, (a, b) in places.items()}
    columns = [column["name"] for column in about["columns"]]
    packed = about["encoding"]["compression"] == "zstd"
    index = ["offsets", *(f"{name}.ends" for name in columns if packed), "checksums", "root"]
    assert sorted(places, key=places.get) == [*index, *columns] and places[columns[-1]][1] == len(data)
    root = xxhash.xxh3_64_intdigest(data[: places["root"][0]])
    assert root == int.from_bytes(tensor["root"].tobytes(), "little")
    checksums = tensor["checksums"].view(np.uint64).reshape(len(columns), 3)
    for name, own in zip(columns, checksums, strict=True):
        ends = (
            tensor[f"{name}.ends"].view(np.int64)
            if packed
            else len(tensor[name]) // 12 * np.array([4, 8, 12])
        )
        blocks = np.split(tensor[name], ends[:-1])
        assert [xxhash.xxh3_64_intdigest(block.tobytes()) for block in blocks] == own.tolist()
