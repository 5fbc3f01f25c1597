"""The HTML page of the sample: whole, self-contained, readable aloud; and how cells are dressed."""

import re
from dataclasses import replace

import pytest

from fusionchat.report.figures import MergeFile, MergeTrial
from fusionchat.report.html import caption, classes, figure, html, inline, minus, shown
from fusionchat.report.markdown import markdown
from fusionchat.report.model import Report, Row
from fusionchat.report.plots import Plot
from fusionchat.report.sections import content
from fusionchat.report.tables import Cell
from tests.report.pages import Page
from tests.report.sample import BITS, DOMAINS, report


def test_the_page_is_balanced_and_no_id_comes_twice(page):
    parsed = Page(page)
    assert parsed.open == []
    assert len(parsed.ids) == len(set(parsed.ids))


def test_the_page_needs_nothing_else(page):
    parsed = Page(page)
    assert all(link.startswith("#") for link in parsed.links)
    assert {link[1:] for link in parsed.links} <= set(parsed.ids)
    assert not {"script", "img", "link", "iframe"} & set(parsed.tags)
    assert "@import" not in page and not re.search(r"url\((?!#)", page)
    addresses = set(re.findall(r"https?://[^\s\"'<>)]+", page))
    assert addresses <= {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}


def test_the_page_says_what_was_measured(page, sample):
    parsed = Page(page)
    for row in sample.rows:
        assert row.label in parsed.text
    value = sample.row("varm").value(BITS).overall
    assert f"{value.value:.3f} ±{value.se:.3f}" in parsed.text
    assert sample.recipe in parsed.text  # escaped: <experts> & more
    assert "<experts>" not in page
    assert "Made-up figures" in parsed.text and "torch 2.8.0" in parsed.text


def test_every_figure_has_words_and_follows_the_theme(page):
    figures = re.findall(r"<svg[^>]*>", page)
    expected = 2 * (len(DOMAINS) + 1) + 2 * 5 + 2 + 3 + 2  # over the soup the fused model alone
    assert len(figures) == expected
    assert all('role="img"' in figure and 'aria-label="' in figure for figure in figures)
    assert all("width=" not in figure and "viewBox=" in figure for figure in figures)
    assert "#01fe" not in page
    assert "var(--ink)" in page and "prefers-color-scheme: dark" in page
    names = set(re.findall(r"var\((--[a-z0-9-]+)\)", page))
    assert all(f"{name}:" in page for name in names)


def test_text_of_figures_stays_text(page):
    inside = "".join(re.findall(r"<svg.*?</svg>", page, flags=re.DOTALL))
    assert "humanities" in inside and "target source_a" in inside


def test_tables_can_be_read_out(page):
    assert page.count('<th scope="row">') > 20 and page.count('<th scope="col">') > 20
    assert page.count("<table>") == page.count('<caption class="unseen">') == page.count('role="region"')


def test_the_fused_model_the_best_and_the_losses_stand_out(page):
    assert '<tr class="strong"><th scope="row">varm</th>' in page
    assert '<td class="best">' in page and '<td class="loss">' in page and '<td class="gain">' in page


def test_names_with_markup_are_shown_as_they_are():
    name = "<b>|x\" & 'y'</b>"
    rows = tuple(replace(row, label=name) if row.label == "varm" else row for row in report().rows)
    made = replace(report(), rows=rows, fused=name, domains=("math",), choices=(), weights=(), name=name)
    said = content(made)
    page = html(made, said)
    assert Page(page).open == [] and "<b>" not in page and name in Page(page).text
    assert "<b>" not in re.sub(r"\\<", "", markdown(made, said).split("## ")[1])


def test_columns_of_text_are_aligned_left_figures_right(sample):
    file = MergeFile("pivot", "model.safetensors", 5, "ab", "read")
    trials = (MergeTrial("linear", 0.5, 1.0, True), MergeTrial("ties", None, 1.0, False, "too many values"))
    made = replace(sample, domains=(), choices=(), merge_files=(file,), trials=trials, trial_metric=BITS)
    said = content(made)
    page, written = html(made, said), markdown(made, said)
    left = re.findall(r'<th scope="col" class="text">([^<]+)</th>', page)
    assert left == ["verdict", "verdict", "by", "dtype", "file", "SHA-256", "known from", "failed because"]
    assert '<td class="text">model.safetensors</td>' in page and "td.text" in page
    assert "| :-- | :-- | --: | :-- | :-- |" in written and "| :-- | --: | --: | :-- |" in written


def test_a_report_with_almost_nothing_still_works():
    bare = Report("x", "2026-01-02T00:00:00", (), (Row("pivot", "pivot", 10),), "", "")
    said = content(bare)
    assert Page(html(bare, said)).open == []
    assert "no fused model" in markdown(bare, said)
    assert [section.anchor for section in said.sections] == ["results"]


@pytest.mark.parametrize(
    ("text", "said"), [("-0.5 ±0.1", "−0.5 ±0.1"), ("-", "–"), ("a-b", "a-b"), ("0.5", "0.5")]
)
def test_a_minus_sign_is_one(text, said):
    assert minus(text) == said


def test_a_standard_error_is_set_back():
    assert figure("-0.50 ±0.01") == '−0.50 <span class="se">±0.01</span>'
    assert figure("<b>") == "&lt;b&gt;" and figure("a ±<b>") == 'a <span class="se">±&lt;b&gt;</span>'


def test_a_cell_shows_its_mark_and_its_classes():
    assert (
        shown(Cell("0.5", tone="gain")) == '<span class="mark">▲</span> 0.5' and shown(Cell("0.5")) == "0.5"
    )
    assert classes(Cell("0.5")) == ""
    assert classes(Cell("0.5", best=True)) == ' class="best"'
    assert classes(Cell("0.5", best=True, tone="gain")) == ' class="best gain"'


def test_captions_name_the_page_s_mark():
    assert caption("The best are marked.") == "The best are marked ★."


def test_figures_follow_the_page():
    said = inline(Plot("x", '<svg width="1pt" height="2pt"><g fill="#01fe01"/></svg>', 'a "b" & <c'))
    assert said == '<svg role="img" aria-label="a &quot;b&quot; &amp; &lt;c"><g fill="var(--ink)"/></svg>'
