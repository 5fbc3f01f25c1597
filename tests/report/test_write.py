"""A report's files."""

import json
from dataclasses import replace
from xml.etree import ElementTree

from fusionchat.report.write import write_report
from tests.report.sample import report


def test_figures_as_files_are_sound_xml_in_plain_colours(folder):
    files = sorted((folder / "plots").glob("*.svg"))
    assert len(files) == 35
    for file in files:
        root = ElementTree.fromstring(file.read_text())
        assert root.tag.endswith("svg")
        assert "var(" not in file.read_text() and "#01fe" not in file.read_text()


def test_the_json_is_the_report(folder, sample):
    value = json.loads((folder / "report.json").read_text())
    assert value["name"] == "demo" and len(value["rows"]) == len(sample.rows)


def test_the_same_report_gives_the_same_bytes(folder, tmp_path):
    small = replace(report(), domains=(), choices=(), weights=())
    write_report(small, tmp_path / "a")
    write_report(small, tmp_path / "b")
    for name in ("report.html", "report.md", "report.json"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_the_page_comes_first_and_figures_follow(tmp_path):
    small = replace(report(), domains=(), choices=())
    paths = [path.relative_to(tmp_path).as_posix() for path in write_report(small, tmp_path)]
    assert paths[:3] == ["report.html", "report.md", "report.json"]
    assert (
        "plots/gain-over-sft-bits_per_byte-0-target-source-a.svg" in paths
        and len(paths) == len(set(paths)) > 3
    )
    assert all((tmp_path / path).is_file() for path in paths)
