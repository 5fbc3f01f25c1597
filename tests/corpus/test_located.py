import pytest

from fusionchat.artifacts import sha256_file
from fusionchat.corpus.located import content_of, locate
from fusionchat.errors import CorpusError


@pytest.fixture
def folder(tmp_path):
    for name in ("data/b.jsonl", "data/a.jsonl", "data/deep/c.jsonl", "data/notes.md", "odd[1].jsonl"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    return tmp_path


def names(found, folder):
    return [str(file.relative_to(folder)) for file in found.files]


def test_a_file_the_files_of_a_pattern_or_a_data_set(folder):
    assert names(locate("data/a.jsonl", str(folder)), folder) == ["data/a.jsonl"]
    assert names(locate("data/*.jsonl", str(folder)), folder) == ["data/a.jsonl", "data/b.jsonl"]
    deep = locate("data/**/*.jsonl", str(folder))
    assert names(deep, folder) == ["data/a.jsonl", "data/b.jsonl", "data/deep/c.jsonl"]
    assert locate(deep.path, "elsewhere").files == deep.files  # a worker finds it by its path alone
    assert names(locate(str(folder / "data/*.md"), "elsewhere"), folder) == ["data/notes.md"]
    assert names(locate("odd[1].jsonl", str(folder)), folder) == ["odd[1].jsonl"]
    for name in ("org/name", "teknium/OpenHermes-2.5"):
        found = locate(name, str(folder), "v2")
        assert found.hub.name == name and found.hub.revision == "v2" and not found.files


def test_a_folder_with_signs_of_a_pattern_in_its_name(tmp_path):
    (tmp_path / "a[b]").mkdir()
    (tmp_path / "a[b]" / "c.jsonl").write_text("")
    found = locate("*.jsonl", str(tmp_path / "a[b]"))
    assert len(found.files) == 1 and locate(found.path, "").files == found.files


@pytest.mark.parametrize(
    ("path", "what", "do"),
    [
        ("data", "This is a folder", "data/*.jsonl"),
        ("none.jsonl", "no such corpus file", "relative to the recipe"),
        ("./none", "no such corpus file", "relative to the recipe"),
        ("data/*.json", "No file matches this pattern", "relative to the recipe"),
    ],
)
def test_what_is_not_there(folder, path, what, do):
    with pytest.raises(CorpusError, match=what) as error:
        locate(path, str(folder))
    assert do in error.value.do and error.value.where == path


def test_the_content_of_a_pattern_is_that_of_its_files_by_name(folder):
    assert content_of(str(folder / "data/a.jsonl"), None) == sha256_file(folder / "data/a.jsonl")
    assert content_of(str(folder / "odd[1].jsonl"), None) == sha256_file(folder / "odd[1].jsonl")
    pattern = str(folder / "data/*.jsonl")
    before = content_of(pattern, None)
    assert content_of(str(folder / "data/[ab].jsonl"), None) == before  # the same files
    (folder / "data/notes.md").write_text("other")
    assert content_of(pattern, None) == before
    (folder / "data/a.jsonl").rename(folder / "data/c.jsonl")
    assert content_of(pattern, None) != before  # names are in the ids that are made up
    (folder / "data/c.jsonl").rename(folder / "data/a.jsonl")
    assert content_of(pattern, None) == before
    (folder / "data/b.jsonl").write_text("other")
    assert content_of(pattern, None) != before
