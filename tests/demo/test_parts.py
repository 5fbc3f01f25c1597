"""A part is done where its folder is there and its note fits."""

import json

import pytest

from fusionchat.demo.parts import Part, making


@pytest.fixture
def part(tmp_path):
    return Part(tmp_path, "models/pivot", 0, 0.5)


def make(part, text="a"):
    with making(part) as folder:
        (folder / "file").write_text(text)


def test_a_part_that_was_made_is_noted(part, tmp_path):
    assert not part.is_made()
    make(part)
    assert part.is_made() and (tmp_path / "models/pivot/file").read_text() == "a"
    assert json.loads((tmp_path / ".made/pivot.json").read_text()) == {"fingerprint": part.fingerprint()}
    assert sorted(path.name for path in (tmp_path / "models").iterdir()) == ["pivot"]


def test_making_it_again_replaces_it(part):
    make(part)
    with making(part) as folder:
        assert list(folder.iterdir()) == [] and part.path.is_dir() and not part.is_made()
        (folder / "other").write_text("b")
    assert [path.name for path in part.path.iterdir()] == ["other"]


def test_an_error_leaves_what_was_there_and_no_note(part):
    make(part)
    with pytest.raises(ValueError, match="x"), making(part) as folder:
        (folder / "file").write_text("b")
        raise ValueError("x")
    assert (part.path / "file").read_text() == "a" and not part.is_made()
    assert [path.name for path in part.path.parent.iterdir()] == ["pivot"]


def test_another_seed_scale_or_part_is_another_one(part, tmp_path):
    others = [part, part._replace(seed=1), part._replace(scale=1.0), part._replace(folder="models/qwen")]
    assert len({one.fingerprint() for one in others}) == 4
    assert part._replace(root=tmp_path / "elsewhere").fingerprint() == part.fingerprint()


def test_a_damaged_note_is_none(part):
    make(part)
    part.note.write_text("{")
    assert not part.is_made()
