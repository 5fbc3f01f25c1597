"""Where bytes come from: a folder, a URL; a shard that is missing or not what was written is named."""

import numpy as np
import pytest

from fusionchat.errors import ArtifactError, DamagedError
from fusionchat.represent.store.layout import Encoding, shard_path
from fusionchat.represent.store.read import DistributionStore
from fusionchat.represent.store.source import RemoteFile
from fusionchat.represent.store.write import write_store
from tests.build import make_scored

ROWS = [3, 0, 2, 7, 1] * 12


def same(mine, theirs):
    for name in ("ids", "logprobs", "tail", "present"):
        np.testing.assert_array_equal(getattr(mine, name), getattr(theirs, name))


def test_a_store_at_a_url(tmp_path):
    import fsspec

    whole = make_scored(0, ROWS)
    write_store(tmp_path, whole, rows=20, encoding=Encoding(11, "uint8", "zstd"))
    memory = fsspec.filesystem("memory")
    for path in tmp_path.iterdir():
        memory.pipe_file(f"/run/qwen/{path.name}", path.read_bytes())
    store = DistributionStore("memory://run/qwen")
    mine = DistributionStore(tmp_path)
    same(store[3], mine[3])
    same(store.slice(5, 50), mine.slice(5, 50))
    same(DistributionStore(tmp_path.as_uri())[7], mine[7])
    data = bytearray(shard_path(tmp_path, 0).read_bytes())
    data[-1] ^= 1
    memory.pipe_file("/run/qwen/shard-00000.safetensors", bytes(data))
    with pytest.raises(ArtifactError, match=r"memory://.*run/qwen/shard-00000") as error:
        DistributionStore("memory://run/qwen").slice(0, mine.ranges[0].stop)
    assert not isinstance(error.value, DamagedError)
    memory.rm("/run/qwen/shard-00001.safetensors")
    with pytest.raises(ArtifactError, match=r"missing\n.*memory://.*shard-00001"):
        DistributionStore("memory://run/qwen")
    memory.rm("/run", recursive=True)


@pytest.mark.parametrize("lost", [0, 1, -1])
def test_a_missing_shard_is_named(tmp_path, lost):
    whole = make_scored(0, ROWS)
    write_store(tmp_path, whole, rows=20, encoding=Encoding(11))
    files = sorted(tmp_path.glob("shard-*"))
    files[lost].unlink()
    with pytest.raises(DamagedError, match=rf"missing\n.*{files[lost].name}"):
        DistributionStore(tmp_path).require(whole.tokens.offsets)


class Refusing:
    """A file system that cannot be asked for no bytes, and breaks off."""

    def cat_file(self, path, start, end):
        assert end > start
        raise TimeoutError("the read\ntimed out")

    def unstrip_protocol(self, path):
        return f"far://{path}"


def test_what_a_file_system_raises_is_one_clear_error():
    file = RemoteFile(Refusing(), "run/x", 10)
    assert file.read(4, 4).size == file.read(12, 20).size == 0
    with pytest.raises(ArtifactError, match="This cannot be read: the read\n") as caught:
        file.read(0, 5)
    assert caught.value.where == "far://run/x"
    with pytest.raises(ArtifactError, match=r"Protocol not known: foo\n.*foo://bar"):
        DistributionStore("foo://bar")


def test_no_store(tmp_path):
    with pytest.raises(ArtifactError, match="no store here"):
        DistributionStore(tmp_path / "nowhere")
