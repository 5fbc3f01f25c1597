"""Figures as SVG that follows the page's colours and font.

A figure is drawn with one placeholder colour for each role. On a page it becomes a CSS variable, so that one
figure serves light and dark; in a file of its own it becomes the light theme's colour. Ids are unique on a
page.
"""

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# role -> (the colour it is drawn in, the colour in the light theme)
ROLES = {
    "ink": ("#01fe01", "#1d2430"),
    "muted": ("#01fe02", "#6b7480"),
    "line": ("#01fe03", "#d5dae1"),
    "surface": ("#01fe04", "#ffffff"),
    "gain": ("#01fe05", "#1f6fb4"),
    "loss": ("#01fe06", "#c2541b"),
    "fused": ("#01fe07", "#0b7f6b"),
    "series-1": ("#01fe11", "#8a94a3"),
    "series-2": ("#01fe12", "#3b7dd8"),
    "series-3": ("#01fe13", "#d9822b"),
    "series-4": ("#01fe14", "#8e5bc0"),
    "series-5": ("#01fe15", "#2a9d8f"),
    "series-6": ("#01fe16", "#c8456b"),
    "series-7": ("#01fe17", "#a68a00"),
    "series-8": ("#01fe18", "#8c5a3c"),
}
SERIES = 8
STYLE = {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 9.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.linewidth": 0.8,
    "axes.titlesize": 10.0,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.axisbelow": True,
    "xtick.major.size": 3.0,
    "ytick.major.size": 0.0,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
}


def role(name: str) -> str:
    """The colour to draw a role in."""
    return ROLES[name][0]


def series(index: int) -> str:
    """The colour to draw the n-th member of a group in."""
    return role(f"series-{index % SERIES + 1}")


@contextmanager
def styled() -> Iterator[None]:
    """matplotlib with the settings of every figure."""
    import matplotlib as mpl

    ink, muted, line = role("ink"), role("muted"), role("line")
    colours = {"text.color": ink, "axes.titlecolor": ink, "axes.labelcolor": muted, "axes.edgecolor": line}
    ticks = {"xtick.color": line, "ytick.color": line, "xtick.labelcolor": muted, "ytick.labelcolor": ink}
    settings: dict[str, object] = {**STYLE, **colours, **ticks, "grid.color": line}
    with mpl.rc_context(settings):  # type: ignore[arg-type]
        yield


def draw(figure: "Figure", name: str) -> str:
    """The figure's ``<svg>`` element in placeholder colours; the same figure always has the same text."""
    import matplotlib as mpl
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    out = io.StringIO()
    blank = {"Date": None, "Creator": None, "Format": None, "Type": None}
    with mpl.rc_context({"svg.hashsalt": name}):
        FigureCanvasSVG(figure).print_svg(out, metadata=blank)  # type: ignore[no-untyped-call]
    text = out.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    # Ids must be unique on a page with many figures.
    text = re.sub(r'\bid="([^"]+)"', rf'id="{name}-\1"', text)
    text = re.sub(r'(href="#|url\(#)', rf"\g<1>{name}-", text)
    return re.sub(r"font: ([^;\"]*?)'[^;\"]*", r"font: \1sans-serif", text).strip()


def for_page(svg: str, label: str) -> str:
    """The figure for a page: colours follow the page's theme, screen readers read ``label``."""
    for name, (drawn, _) in ROLES.items():
        svg = svg.replace(drawn, f"var(--{name})")
    # The width comes from the page; the view box keeps the proportions.
    svg = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", svg, count=1)
    return svg.replace("<svg", f'<svg role="img" aria-label="{_escape(label)}"', 1)


def for_file(svg: str) -> str:
    """The figure as a file of its own: the light theme's colours on a light background."""
    for drawn, light in ROLES.values():
        svg = svg.replace(drawn, light)
    ground = f'<rect width="100%" height="100%" fill="{ROLES["surface"][1]}"/>'
    head = svg.index(">") + 1
    return f'<?xml version="1.0" encoding="utf-8"?>\n{svg[:head]}{ground}{svg[head:]}\n'


def _escape(text: str) -> str:
    return text.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;")
