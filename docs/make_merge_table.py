"""Writes the table of methods in docs/merge_methods.md from their settings: python docs/make_merge_table.py"""

from dataclasses import MISSING, fields
from pathlib import Path

from fusionchat.merge.methods import METHODS
from fusionchat.merge.methods.base import Method

PAGE = Path(__file__).with_name("merge_methods.md")
BEGIN, END = "<!-- made by docs/make_merge_table.py -->\n", "<!-- end -->\n"


def page(text: str) -> str:
    """The page with the table made anew."""
    before, _, rest = text.partition(BEGIN)
    return before + BEGIN + table() + END + rest.partition(END)[2]


def table() -> str:
    """A row per method: what it does, its settings with their defaults, how many targets it takes, where it is from."""
    lines = ["| method | result | settings (default) | targets | source |", "|---|---|---|---|---|"]
    for name, kind in METHODS.items():
        least, most = kind.targets
        targets = (
            f"{least}" if least == most else f"{least} or more" if most is None else f"{least} to {most}"
        )
        lines.append(
            f"| `{name}` | {said(kind)} | {settings(kind)} | {targets} | [{source(kind)}]({kind.paper}) |"
        )
    return "\n".join(lines) + "\n"


def said(kind: type[Method]) -> str:
    """The first line of a method's docstring, without the source, which has a column of its own."""
    line = (kind.__doc__ or "").strip().splitlines()[0].replace("``", "`").replace("|", "\\|")
    before, found, inside = line.rpartition(" (")
    cited = found and any(word in inside for word in ("arXiv", "Shoemake", "Goddard"))
    return (before if cited else line).rstrip(".")


def settings(kind: type[Method]) -> str:
    """Every setting with its default."""
    own = [field for field in fields(kind) if field.name != "method"]
    return ", ".join(f"`{field.name}` ({default(field.default)})" for field in own) or "none"


def default(value: object) -> str:
    """A default in a reader's words."""
    if value is None or value is MISSING:
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value) if value != () else "none"


def source(kind: type[Method]) -> str:
    """A short name for where a method is from: the arXiv number, or the site."""
    last = kind.paper.rpartition("/")[2]
    return last if "arxiv.org" in kind.paper else kind.paper.split("/")[2]


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
