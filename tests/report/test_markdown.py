"""The Markdown of the sample, and how its parts are written."""

import re
from dataclasses import replace

import pytest

from fusionchat.report.markdown import escape, fenced, image, markdown, table
from fusionchat.report.plots import Plot
from fusionchat.report.sections import content
from fusionchat.report.tables import Cell, Table
from tests.report.sample import BITS


def test_the_markdown_has_the_same_figures_and_links_that_hold(text, folder, sample):
    links = re.findall(r'<img src="([^"]+)" alt="[^"<>]+" width="32%">', text)
    assert len(links) == 35 and all((folder / link).is_file() for link in links)
    value = sample.row("varm").value(BITS).overall
    assert f"**{value.value:.3f} ±{value.se:.3f}**" in text
    assert text.startswith("# demo\n\nThe fused model (varm) needs ")
    assert "```yaml\nname: demo" in text


def test_markdown_tables_have_equal_columns(text):
    blocks = re.findall(r"(?:^\|.*\|$\n?)+", text, flags=re.MULTILINE)
    assert len(blocks) >= 9
    for block in blocks:
        lines = block.strip().splitlines()
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in lines}) == 1
        assert set(lines[1]) <= set("| :-")


def test_markdown_without_figures(sample):
    small = replace(sample, domains=(), choices=(), weights=())
    assert "<img" not in markdown(small, content(small))


def test_a_table_by_hand():
    """Figures right, text left; the best and the strong row's name are bold; marks of gains are in front."""
    rows = (
        (Cell("pivot"), Cell("1.2", best=True), Cell("a|b", tone="text")),
        (Cell("var_m"), Cell("-0.5", tone="gain"), Cell("-", tone="text")),
    )
    made = Table("", ("", "bits", "why"), rows, "The best are marked.", strong=1)
    mark = rows[1][1].mark
    assert table(made) == (
        "|  | bits | why |\n| :-- | --: | :-- |\n| pivot | **1.2** | a\\|b |\n"
        f"| **var\\_m** | {mark} -0.5 | - |\n\nThe best are bold."
    )


def test_text_is_shown_as_it_is():
    assert escape("a|b*c_d\ne") == r"a\|b\*c\_d e" and escape("[x](<y>) `z` \\") == r"\[x\](\<y\>) \`z\` \\"


@pytest.mark.parametrize(("text", "fence"), [("a", "```"), ("a\n```\nb", "````"), ("`````", "``````")])
def test_a_fence_is_longer_than_any_inside(text, fence):
    assert fenced(text + "\n", "yaml") == f"{fence}yaml\n{text}\n{fence}"


@pytest.mark.parametrize(("wide", "width"), [(False, "32%"), (True, "100%")])
def test_figures_are_linked_by_name(wide, width):
    assert image(Plot("a-b", "", 'x "y" & <z>', wide), "plots") == (
        f'<img src="plots/a-b.svg" alt="x &#34;y&#34; &#38; &#60;z&#62;" width="{width}">'
    )
