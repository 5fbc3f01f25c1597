"""A job's distributions on the Hugging Face hub, as a data set: upload and download.

The data set has shards, manifest and a card.
"""

import shutil
from pathlib import Path

from fusionchat.artifacts import MANIFEST, Manifest, make_folder, read_manifest
from fusionchat.damage import damaged_files
from fusionchat.errors import ArtifactError
from fusionchat.models.ready import first_line
from fusionchat.represent.store.layout import SHARDS
from fusionchat.represent.store.read import DistributionStore

CARD = "README.md"
TEXT = """---
tags:
- fusionchat
- distillation
---

# {name}

Distributions of a chat LLM over the tokens of a chat corpus, made by FusionChat: {rows:,} rows of {conversations:,}
conversations, a vocabulary of {vocabulary:,} tokens.

    fusionchat pull {repo} RUN/{name}

or without a run, one conversation at a time:

    from fusionchat import DistributionStore
    store = DistributionStore("hf://datasets/{repo}")
    store[0].ids, store[0].logprobs

The corpus is not included: the run's `corpus` job has the tokens of the rows. Fingerprint: {fingerprint}
"""


def push(folder: Path, repo: str, *, private: bool = True) -> str:
    """Upload a finished job's store to a data set of the hub; returns its URL.

    The data set is created if it does not exist.

    Raises:
        ArtifactError: The folder is no finished job with shards, a file in it is damaged, or the hub refuses.
    """
    from huggingface_hub import HfApi

    manifest = require_whole(folder)
    store = DistributionStore(folder)
    text = TEXT.format(
        name=f"{folder.parent.name}/{folder.name}",
        repo=repo,
        rows=store.rows,
        conversations=len(store),
        vocabulary=store.encoding.vocabulary,
        fingerprint=manifest.fingerprint,
    )
    try:
        api = HfApi()
        url = api.create_repo(repo, repo_type="dataset", private=private, exist_ok=True)
        api.upload_folder(
            folder_path=folder, repo_id=repo, repo_type="dataset", allow_patterns=[*manifest.files, MANIFEST]
        )
        api.upload_file(path_or_fileobj=text.encode(), path_in_repo=CARD, repo_id=repo, repo_type="dataset")
    except Exception as error:  # the hub's client raises many kinds
        raise ArtifactError(
            f"{repo} cannot be uploaded to the hub: {first_line(error)}",
            do="check the id, the network and your login (`hf auth login`), then run the same command again",
        ) from error
    return str(url)


def pull(repo: str, folder: Path, *, revision: str | None = None) -> Manifest:
    """Download what `push` uploaded into a new folder; returns its manifest.

    The folder appears whole or not at all.

    Raises:
        ArtifactError: The folder exists, or the data set cannot be downloaded or is not what was pushed.
    """
    from huggingface_hub import snapshot_download

    if folder.exists():
        raise ArtifactError(
            "This folder already exists", where=str(folder), do="remove it, or choose another"
        )
    make_folder(folder.parent)
    coming = folder.with_name(
        f".{folder.name}.coming"
    )  # kept after an interruption, so that a second call continues
    try:
        snapshot_download(
            repo, repo_type="dataset", revision=revision, local_dir=coming, ignore_patterns=[CARD, ".git*"]
        )
    except Exception as error:  # the hub's client raises many kinds
        raise ArtifactError(
            f"{repo} cannot be downloaded from the hub: {first_line(error)}",
            do="check the id, the network and your login (`hf auth login`)",
        ) from error
    shutil.rmtree(coming / ".cache", ignore_errors=True)  # the client's own files
    manifest = require_whole(coming, name=repo)
    coming.rename(folder)
    return manifest


def require_whole(folder: Path, *, name: str = "") -> Manifest:
    """The manifest of a finished job's store, after checking that all its files are as written.

    Args:
        folder: The job's folder.
        name: What messages call it; by default the folder.

    Raises:
        ArtifactError: It is not finished, has no shards, or a file is damaged.
    """
    manifest, where = read_manifest(folder), name or str(folder)
    if manifest is None or not any(folder.glob(SHARDS)):
        raise ArtifactError(
            "This is not a finished store of distributions",
            where=where,
            do="use the folder of a finished job of represent, align or fuse",
        )
    for error in damaged_files(folder, manifest, verify=True):
        raise ArtifactError(f"{error.what}: {error.path.name}", where=where, do="make it again, then push it")
    return manifest
