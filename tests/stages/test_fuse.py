"""The fuse stage: what a rule needs of the corpus reaches it, and what goes to the pivot is counted."""

import json
import shutil
from types import SimpleNamespace

from fusionchat.recipe.schema import load_recipe
from fusionchat.stages.corpus import read_part
from fusionchat.stages.names import CORPUS
from fusionchat.stages.pipeline import run
from fusionchat.stages.report_notes import fusion_note
from tests.tiny import write_recipe


def test_a_route_follows_the_domains_of_the_corpus(finished, tiny, capsys):
    shutil.copytree(finished.folder, tiny / "runs/tiny")
    domains = sorted({c.domain for c in read_part(finished.path(CORPUS), "train")})
    mapped = {domains[0]: "qwen", domains[1]: "pivot", "cooking": "mixtral"}
    write_recipe(tiny / "recipe.yaml", fuse={"method": "route", "map": mapped})
    done = run(load_recipe("recipe.yaml"), until="fuse")
    said = capsys.readouterr()
    assert "no conversation of the train part has the domain 'cooking'" in said.err
    summary = json.loads((done.path("fuse/qwen") / "manifest.json").read_text())["summary"]
    conversations = read_part(done.path(CORPUS), "train")
    others = [c for c in conversations if c.domain not in mapped]
    assert sum(summary["to_pivot"].values()) == len(others) > 0
    assert set(summary["to_pivot"]) == {f"domain {c.domain!r} is not in fuse.map" for c in others}
    assert f"fuse qwen: {len(others)} of {len(conversations)} conversations take the pivot's" in said.out
    shares = summary["shares"]
    assert shares[domains[0]]["qwen"] > 0.8  # but for unaligned rows
    assert all(shares[domain]["pivot"] == 1.0 for domain in domains[1:])
    pair = json.loads((done.path("fuse/mixtral") / "manifest.json").read_text())["summary"]["to_pivot"]
    assert pair["qwen is not fused here"] == sum(c.domain == domains[0] for c in conversations)
    by_id = {conversations[0].id: "qwen", **{f"nobody-{n}": "mixtral" for n in range(6)}}
    write_recipe(tiny / "recipe.yaml", fuse={"method": "route", "column": "id", "map": by_id})
    done = run(load_recipe("recipe.yaml"), until="fuse")
    assert "has the id 'nobody-0', 'nobody-1', 'nobody-2', 'nobody-3', 'nobody-4' and 1 more of `fuse`" in (
        capsys.readouterr().err
    )
    summary = json.loads((done.path("fuse/qwen") / "manifest.json").read_text())["summary"]
    assert summary["to_pivot"] == {"id is not in fuse.map": len(conversations) - 1}
    assert summary["shares"][conversations[0].domain]["qwen"] > 0


def test_the_report_notes_what_went_to_the_pivot():
    summary = {"unscored_bytes": 0, "unscored_ends": 0, "bytes": 9, "to_pivot": {"no domain": 1, "other": 2}}
    inputs = SimpleNamespace(manifest=lambda _: SimpleNamespace(summary=summary))
    assert fusion_note(inputs, "qwen") == (
        "Fusion for target qwen: 3 conversations took the pivot's: 2 other, 1 no domain."
    )
    del summary["to_pivot"]
    assert fusion_note(inputs, "qwen") == ""
