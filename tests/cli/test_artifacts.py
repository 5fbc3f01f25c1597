"""The verbs for what a run holds: what they ask of the stages, and what they print."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from fusionchat.represent.store import share
from fusionchat.stages import export as exporting
from fusionchat.stages import show as showing
from tests.cli.calls import call

TABLE = SimpleNamespace(title="Tensors", columns=("name", "rows"), rows=[("w", "3")])
SHOWN = SimpleNamespace(what="a capture of qwen", facts={"k": "5", "conversations": "12"}, tables=[TABLE])


def test_what_is_in_a_place_is_listed(capsys, monkeypatch):
    monkeypatch.setattr(showing, "describe", lambda path: SHOWN if path == "runs/x" else None)
    code, text = call(capsys, "show", "runs/x")
    assert code == 0 and text.splitlines()[:3] == [
        "a capture of qwen",
        "  k              5",
        "  conversations  12",
    ]
    assert "Tensors" in text


def test_one_conversation_is_decoded(capsys, monkeypatch):
    asked = []
    monkeypatch.setattr(showing, "show_conversation", lambda path, name: asked.append((path, name)) or SHOWN)
    assert call(capsys, "show", "runs/x", "--conversation", "7")[0] == 0 and asked == [("runs/x", "7")]


@pytest.mark.parametrize(
    ("without", "end"), [(0, "1,200 tokens"), (34, "1,200 tokens, 34 of them without a distribution")]
)
def test_what_was_exported_is_counted(capsys, monkeypatch, tmp_path, without, end):
    asked = []
    done = SimpleNamespace(folder="out/fuse/a", conversations=1, rows=1200, without=without)
    monkeypatch.setattr(exporting, "export", lambda *given: asked.append(given) or [done])
    code, text = call(capsys, "export", tmp_path, "--format", "parquet", "--job", "fuse/a", "--output", "out")
    assert code == 0 and text == f"out/fuse/a: 1 conversation, {end}\n"
    assert asked == [(tmp_path, "parquet", Path("out"), ("fuse/a",))]


@pytest.mark.parametrize(("options", "private"), [([], True), (["--public"], False)])
def test_a_data_set_is_private_unless_it_is_said(capsys, monkeypatch, tmp_path, options, private):
    asked = []
    monkeypatch.setattr(
        share, "push", lambda folder, repo, *, private: asked.append((folder, repo, private)) or "the hub"
    )
    code, text = call(capsys, "push", tmp_path, "o/name", *options)
    assert (
        code == 0 and text == f"Pushed {tmp_path} to the hub\n" and asked == [(tmp_path, "o/name", private)]
    )


def test_what_was_pulled_is_named_by_its_fingerprint(capsys, monkeypatch, tmp_path):
    made = SimpleNamespace(fingerprint="0123456789abcdef")
    monkeypatch.setattr(share, "pull", lambda repo, folder, *, revision: made if revision == "main" else None)
    code, text = call(capsys, "pull", "o/name", tmp_path / "x", "--revision", "main")
    assert code == 0 and text == f"Pulled o/name to {tmp_path / 'x'} (fingerprint 0123456789ab)\n"
