"""The HTML page, the Markdown and the files: one drawing of the sample serves all tests."""

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest

from fusionchat.evaluate.noise import Gain
from fusionchat.report import plots, svg, tables
from fusionchat.report.html import html, minus
from fusionchat.report.markdown import escape, fenced, markdown
from fusionchat.report.model import MergedTensor, MergeFile, MergeTrial, Report, Result, Row
from fusionchat.report.rows import make_rows
from fusionchat.report.sections import content, facts, headline
from fusionchat.report.write import write_report
from tests.report.sample import BITS, DOMAINS, METRICS, models, report

VOID = {"meta", "br", "hr", "img", "link", "input"}


class Page(HTMLParser):
    """Checks that tags are balanced; gathers ids, links and text."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.tags: list[str] = []
        self.text = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        found = dict(attrs)
        self.ids += [found["id"]] if "id" in found else []
        self.links += [value for name, value in attrs if name in ("href", "src", "xlink:href")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open and self.open.pop() == tag, f"unbalanced </{tag}>"

    def handle_data(self, data):
        self.text += data


def with_gain(row: Row, **gain) -> Row:
    """The row with another gain in bits per byte."""
    results = {**row.results, "bits_per_byte": row.results["bits_per_byte"]._replace(**gain)}
    return replace(row, results=results)


@pytest.fixture(scope="module")
def sample() -> Report:
    return report()


@pytest.fixture(scope="module")
def folder(sample, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    write_report(sample, folder)
    return folder


@pytest.fixture(scope="module")
def page(folder) -> str:
    return (folder / "report.html").read_text()


@pytest.fixture(scope="module")
def text(folder) -> str:
    return (folder / "report.md").read_text()


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


def test_figures_as_files_are_sound_xml_in_plain_colours(folder):
    files = sorted((folder / "plots").glob("*.svg"))
    assert len(files) == 35
    for file in files:
        root = ElementTree.fromstring(file.read_text())
        assert root.tag.endswith("svg")
        assert "var(" not in file.read_text() and "#01fe" not in file.read_text()


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


def test_the_json_is_the_report(folder, sample):
    value = json.loads((folder / "report.json").read_text())
    assert value["name"] == "demo" and len(value["rows"]) == len(sample.rows)


def test_the_same_report_gives_the_same_bytes(folder, tmp_path):
    small = replace(report(), domains=(), choices=(), weights=())
    write_report(small, tmp_path / "a")
    write_report(small, tmp_path / "b")
    for name in ("report.html", "report.md", "report.json"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_a_report_with_almost_nothing_still_works():
    bare = Report("x", "2026-01-02T00:00:00", (), (Row("pivot", "pivot", 10),), "", "")
    said = content(bare)
    assert Page(html(bare, said)).open == []
    assert "no fused model" in markdown(bare, said)
    assert [section.anchor for section in said.sections] == ["results"]


def test_names_with_markup_are_shown_as_they_are():
    name = "<b>|x\" & 'y'</b>"
    rows = tuple(replace(row, label=name) if row.label == "varm" else row for row in report().rows)
    made = replace(report(), rows=rows, fused=name, domains=("math",), choices=(), weights=(), name=name)
    said = content(made)
    page = html(made, said)
    assert Page(page).open == [] and "<b>" not in page and name in Page(page).text
    assert "<b>" not in re.sub(r"\\<", "", markdown(made, said).split("## ")[1])


def test_the_headline_counts_clear_gains_and_names_losses(sample):
    gain = sample.row("varm").gain(BITS)
    won = [d for d, e in gain.domains.items() if e.value > e.t * e.se]
    lost = [d for d, e in gain.domains.items() if e.value < -e.t * e.se]
    said = headline(sample)
    assert won and lost and f"in {len(won)} of 8 domains" in said
    assert f"loses clearly in {len(lost)} ({', '.join(lost)})" in said


def test_the_headline_gives_intervals_over_sft_and_over_the_soup(sample):
    row, said = sample.row("varm"), headline(sample)
    for gain, name in ((row.gain(BITS), "sft"), (row.gain(BITS, "soup"), "the soup of 3 SFT seeds")):
        value, reach = gain.overall.value, gain.overall.t * gain.overall.se
        low, high = f"{value - reach:.4f}", f"{value + reach:.4f}"
        assert f"{value:.4f} less than {name} (95 % interval {low} to {high})" in said
    assert "Student's t, with training noise from the spread of 3 seeds of SFT." in said
    assert "standard errors" not in said


def test_the_headline_says_what_the_pivot_gains_from_itself(sample):
    """A gain that self-distillation has, too, comes from no source."""
    gain = sample.row("self-distillation").gain(BITS).overall
    words = f"Distilled from itself, without any source, the pivot needs {gain.value:.4f} less than sft"
    assert words in headline(sample)
    rows = tuple(row for row in sample.rows if row.kind != "self")
    assert "itself" not in headline(replace(sample, rows=rows))


def test_without_a_second_seed_nothing_is_called_clear(sample):
    """The noise of training is unknown then; the headline says so, and no gain or loss is coloured."""
    once = tuple(model._replace(runs=model.runs[:1]) for model in models() if model.kind != "soup")
    made = replace(sample, rows=make_rows(once, "varm", METRICS), soup="", sft_seeds=1)
    said = headline(made)
    assert "No training was repeated" in said and "not known to be a difference" in said
    assert "clearly" not in said and "interval" not in said
    tones = [cell.tone for row in tables.gain_table(made, BITS).rows for cell in row]
    assert not {"gain", "loss"} & set(tones)
    assert [fact.name for fact in facts(made)].count("gain over soup") == 0


def test_a_loss_is_called_one(sample):
    rows = tuple(
        replace(row, label="varm") if row.label == "pivot" else row
        for row in sample.rows
        if row.label != "varm"
    )
    assert "more than sft" in headline(replace(sample, rows=rows))


def test_a_small_gain_is_not_called_clear(sample):
    row = sample.row("varm")
    gain = row.gain(BITS)._replace(overall=Gain(0.001, 0.001, 99, 0.001, 0.0005, 2.0))
    rows = tuple(with_gain(r, over_sft=gain) if r is row else r for r in sample.rows)
    said = headline(replace(sample, rows=rows))
    assert "0.0010 less than sft (no clear difference, 95 % interval -0.0010 to 0.0030)" in said


def test_a_gain_over_sft_that_the_soup_has_too_is_called_one(sample):
    """What the average of two SFT seeds gives is no gain of fusion."""
    row = sample.row("varm")
    same = row.gain(BITS, "soup")._replace(overall=Gain(-0.0004, 0.0004, 480, 0.0003, 0.0003, 3.0))
    rows = tuple(with_gain(r, over_soup=same) if r is row else r for r in sample.rows)
    said = headline(replace(sample, rows=rows))
    words = "0.0004 more than the soup of 3 SFT seeds (no clear difference, 95 % interval -0.0008 to 0.0016)"
    assert words in said
    assert "not clear" in facts(replace(sample, rows=rows))[2].small


def test_a_run_without_a_baseline_claims_no_gain(sample):
    rows = tuple(
        replace(row, results={name: Result(found.value) for name, found in row.results.items()})
        for row in sample.rows
    )
    made = replace(sample, rows=rows, baseline="", soup="", domains=())
    assert headline(made).endswith("bits per byte of held-out text.")
    assert "gains" not in [section.anchor for section in content(made).sections]


def test_a_domain_without_values_has_no_panel():
    shown = plots.score_plots(replace(report(), domains=(*report().domains, "unseen")), BITS)
    assert len(shown) == len(report().domains) + 1 and "unseen" not in str([plot.alt for plot in shown])


def test_models_far_off_do_not_hide_the_others():
    rows = [row for row in report().rows if row.value(BITS)]
    found = [(row, row.value(BITS).overall) for row in rows]
    low, high = plots._score_range(found, 1.0)
    assert low < 0.69 and 0.72 < high < 0.8
    drawn = plots.score_plots(replace(report(), domains=()), BITS)[0]
    assert "1.236 ▸" in drawn.svg


def test_gains_share_one_scale_with_zero_inside():
    made = report()
    rows = [row for row in made.rows if row.kind in ("target", "merge")]
    low, high = plots._gain_range(rows, BITS, ("overall", *DOMAINS))
    assert low < 0 < high
    assert plots._gain_range([], BITS, ()) == (-1.0, 1.0)


def test_long_labels_are_cut_for_figures():
    assert plots.short("x" * 60) == "x" * 23 + "…" and plots.short("varm") == "varm"


def test_roles_do_not_contain_each_other_s_colours():
    drawn = [colour for colour, _ in svg.ROLES.values()]
    assert len(set(drawn)) == len(drawn) and all(re.fullmatch("#01fe[0-9]{2}", c) for c in drawn)


def test_small_dressings():
    assert minus("-0.5 ±0.1") == "−0.5 ±0.1" and minus("-") == "–" and minus("a-b") == "a-b"
    assert escape("a|b*c_d") == r"a\|b\*c\_d"
    assert fenced("a\n```\nb", "yaml") == "````yaml\na\n```\nb\n````"


def test_a_failed_trial_is_drawn_as_one(sample):
    tried = tuple(MergeTrial(f"ties {n}", 0.5 + 0.01 * n, 2.0, n == 0) for n in range(3))
    failed = MergeTrial("slerp", None, 0.1, False, "needs 1 to 2 targets")
    (whole,) = plots.trial_plots(replace(sample, trials=tried, trial_metric=BITS))
    (drawn,) = plots.trial_plots(replace(sample, trials=(*tried, failed), trial_metric=BITS))
    assert ">failed<" in drawn.svg and ">slerp<" in drawn.svg and drawn.alt.endswith("1 failed")
    assert ">failed<" not in whole.svg and "failed" not in whole.alt


def test_a_merge_without_shares_says_why_there_is_no_picture(sample):
    tensor = MergedTensor("w", (), (0.1, 0.2), (0.5,), 0.1, 0.1, 0.0)
    small = replace(sample, domains=(), choices=())
    made = replace(small, weights=(), tensors=(tensor,), merge="ties density=0.3")
    said = next(section for section in content(made).sections if section.anchor == "weights")
    assert "This merge (ties density=0.3) decides element by element" in said.text
    assert "The share each target has" not in said.text
    shares = next(section for section in content(small).sections if section.anchor == "weights")
    assert "The share each target has" in shares.text and "element by element" not in shares.text


def test_columns_of_text_are_aligned_left_figures_right(sample):
    file = MergeFile("pivot", "model.safetensors", 5, "ab", "read")
    trials = (MergeTrial("linear", 0.5, 1.0, True), MergeTrial("ties", None, 1.0, False, "too many values"))
    made = replace(sample, domains=(), choices=(), merge_files=(file,), trials=trials, trial_metric=BITS)
    said = content(made)
    page, written = html(made, said), markdown(made, said)
    left = re.findall(r'<th scope="col" class="text">([^<]+)</th>', page)
    assert left == ["file", "SHA-256", "known from", "failed because"]
    assert '<td class="text">model.safetensors</td>' in page and "td.text" in page
    assert "| :-- | :-- | --: | :-- | :-- |" in written and "| :-- | --: | --: | :-- |" in written


def test_the_name_of_an_axis_is_not_cut_at_the_edge():
    """Centred under a short axis, a long name would reach past the figure."""
    long = replace(BITS, name="x", title="length of the replies", unit="tokens")
    rows = tuple(
        replace(row, results={**row.results, "x": row.results["bits_per_byte"]}) for row in report().rows
    )
    for metric, anchor in ((BITS, "middle"), (long, "end")):
        shown = plots.score_plots(replace(report(), rows=rows, domains=()), metric)[0].svg
        (label,) = re.findall(rf"<text style=\"([^\"]*)\"[^>]*>{re.escape(metric.column)}, lower", shown)
        assert f"text-anchor: {anchor}" in label
