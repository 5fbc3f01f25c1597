"""A store on the hub and back, with a hub in a folder; what is damaged or not finished never leaves or arrives."""

import shutil

import huggingface_hub
import pytest

from fusionchat.artifacts import read_manifest
from fusionchat.errors import ArtifactError
from fusionchat.represent.store.read import DistributionStore
from fusionchat.represent.store.share import pull, push


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """The hub's data sets as folders below this one."""
    root = tmp_path / "hub"

    class Api:
        def create_repo(self, repo, *, repo_type, private, exist_ok):
            assert repo_type == "dataset" and exist_ok
            (root / repo).mkdir(parents=True, exist_ok=True)
            (root / repo / ".private").write_text(str(private))
            return f"hub://{repo}"

        def upload_folder(self, *, folder_path, repo_id, repo_type, allow_patterns):
            for pattern in allow_patterns:
                for path in folder_path.glob(pattern):
                    shutil.copy(path, root / repo_id / path.name)

        def upload_file(self, *, path_or_fileobj, path_in_repo, repo_id, repo_type):
            (root / repo_id / path_in_repo).write_bytes(path_or_fileobj)

    def download(repo, *, repo_type, revision, local_dir, ignore_patterns):
        if not (root / repo).is_dir():
            raise OSError(f"404: no data set {repo}\nmore of it")
        shutil.copytree(
            root / repo, local_dir, dirs_exist_ok=True, ignore=shutil.ignore_patterns(*ignore_patterns)
        )

    monkeypatch.setattr(huggingface_hub, "HfApi", Api)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    return root


def test_a_store_comes_back_as_it_went(hub, finished, tmp_path):
    folder = finished.path("represent/qwen")
    assert push(folder, "me/qwen") == "hub://me/qwen"
    card = (hub / "me/qwen/README.md").read_text()
    assert "fusionchat pull me/qwen" in card and f"{DistributionStore(folder).rows:,} rows" in card
    assert (hub / "me/qwen/.private").read_text() == "True", "distributions tell of the text"
    assert pull("me/qwen", tmp_path / "back") == read_manifest(folder)
    assert not (tmp_path / "back" / "README.md").exists()
    assert (DistributionStore(tmp_path / "back")[3].ids == DistributionStore(folder)[3].ids).all()


def test_only_shards_and_the_manifest_go(hub, finished, tmp_path):
    shutil.copytree(finished.path("represent/qwen"), tmp_path / "mine")
    (tmp_path / "mine" / "secret.txt").write_text("key")
    push(tmp_path / "mine", "me/qwen", private=False)
    assert not (hub / "me/qwen/secret.txt").exists() and (hub / "me/qwen/.private").read_text() == "False"


def test_a_damaged_store_is_not_pushed(hub, finished, tmp_path):
    shutil.copytree(finished.path("represent/qwen"), tmp_path / "mine")
    shard = tmp_path / "mine" / "shard-00000.safetensors"
    data = bytearray(shard.read_bytes())
    data[-7] ^= 1
    shard.write_bytes(data)
    with pytest.raises(ArtifactError, match="damaged"):
        push(tmp_path / "mine", "me/qwen")
    assert not hub.exists()


def test_what_arrives_damaged_is_refused(hub, finished, tmp_path):
    push(finished.path("represent/qwen"), "me/qwen")
    shard = hub / "me/qwen/shard-00000.safetensors"
    shard.write_bytes(shard.read_bytes()[:-1])
    with pytest.raises(ArtifactError, match="damaged"):
        pull("me/qwen", tmp_path / "back")
    assert not (tmp_path / "back").exists()


def test_clear_refusals(hub, finished, tmp_path):
    with pytest.raises(ArtifactError, match="not a finished store"):
        push(finished.path("corpus/corpus"), "me/corpus")
    with pytest.raises(
        ArtifactError, match=r"you/none cannot be downloaded from the hub: 404: no data set you/none\n"
    ):
        pull("you/none", tmp_path / "back")
    with pytest.raises(ArtifactError, match="already exists"):
        pull("you/none", finished.path("represent/qwen"))
