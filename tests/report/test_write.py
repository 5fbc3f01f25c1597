"""A report's files."""

import json
from dataclasses import replace
from xml.etree import ElementTree

from fusionchat.evaluate.power import detectable
from fusionchat.report.advice import advice
from fusionchat.report.write import conclusions, write_report
from tests.report.sample import BITS, MATCH, report


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


def test_json_has_advice_floors_and_what_could_be_seen():
    low = BITS, replace(MATCH, floor=0.5)
    made = replace(report(), metrics=low)
    found = conclusions(made)
    assert found["floor"] == ["exact_match"]
    assert [one["rule"] for one in found["advice"]] == [one.rule for one in advice(made)] != []
    gain = made.row("varm").gain(BITS, "soup").overall
    assert found["could_be_seen"]["bits_per_byte"]["over_soup"] == detectable(gain)
    gain = made.row("varm").gain(MATCH).overall
    assert found["could_be_seen"]["exact_match"]["over_sft"] == detectable(gain, 1.0)
