"""Figures as SVG: colours by role, no id twice, the same bytes each time."""

import re
from xml.etree import ElementTree

import matplotlib as mpl
from matplotlib.figure import Figure

from fusionchat.report import svg


def test_roles_do_not_contain_each_other_s_colours():
    drawn = [colour for colour, _ in svg.ROLES.values()]
    assert len(set(drawn)) == len(drawn) and all(re.fullmatch("#01fe[0-9]{2}", c) for c in drawn)


def drawn(name):
    """A line and words that must not become paths."""
    with svg.styled():
        figure = Figure(figsize=(2, 1))
        axes = figure.add_subplot()
        axes.plot([0, 1], [0, 1], color=svg.role("gain"), clip_on=True)
        axes.set_title("words")
        return svg.draw(figure, name)


def test_members_of_a_group_take_turns():
    assert [svg.series(n) for n in (0, 7, 8)] == [
        svg.role("series-1"),
        svg.role("series-8"),
        svg.role("series-1"),
    ]


def test_settings_hold_inside_and_are_put_back():
    before = mpl.rcParams["font.size"], mpl.rcParams["text.color"]
    with svg.styled():
        assert mpl.rcParams["font.size"] == 9.0 and mpl.rcParams["text.color"] == svg.role("ink")
    assert (mpl.rcParams["font.size"], mpl.rcParams["text.color"]) == before


def test_a_figure_is_the_same_text_each_time_and_has_ids_of_its_own():
    one, again, other = drawn("one"), drawn("one"), drawn("two")
    assert one == again and one.startswith("<svg") and one.endswith("</svg>")
    assert "<metadata>" not in one and ">words<" in one and svg.role("gain") in one
    ids = [set(re.findall(r'\bid="([^"]+)"', text)) for text in (one, other)]
    assert all(name.startswith("one-") for name in ids[0]) and not ids[0] & ids[1]
    used = set(re.findall(r'(?:href="#|url\(#)([^")]+)', one))
    assert used and used <= ids[0]


def test_on_a_page_colours_are_variables_and_the_page_gives_the_width():
    page = svg.for_page(drawn("one"), 'a "b" <c> & d')
    label = 'role="img" aria-label="a &quot;b&quot; &lt;c> &amp; d"'
    assert page.startswith(f"<svg {label} ")
    head = page.replace(label, "").partition(">")[0]
    assert "width=" not in head and "height=" not in head and "viewBox=" in head
    assert "#01fe" not in page and "var(--gain)" in page and "var(--ink)" in page


def test_a_file_has_the_light_theme_s_colours_on_a_ground():
    text = svg.for_file(drawn("one"))
    root = ElementTree.fromstring(text)
    assert "#01fe" not in text and svg.ROLES["gain"][1] in text
    assert root[0].tag.endswith("rect") and root[0].attrib["fill"] == "#ffffff"
