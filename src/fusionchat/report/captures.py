"""The table of captures: by what each model was scored, and how far that is from plain transformers."""

from fusionchat.report import text
from fusionchat.report.model import Captured, Report
from fusionchat.report.tables import Cell, Table


def capture_table(report: Report) -> Table:
    """By what each model was captured."""
    columns = ("model", "by", "dtype", "tokens", "bits per byte", "off on average", "at most")
    rows = tuple(tuple(Cell(part) for part in _row(one)) for one in report.captures)
    missing = [f"{one.label}: {one.unchecked}" for one in report.captures if one.differs is None]
    caption = (
        "Off: nats by which the log-probabilities of the text's own tokens differ from those of plain transformers in "
        "float32, on the conversations of the probe."
    )
    if missing:
        caption += f" Not compared: {'; '.join(missing)}."
    return Table("Captures", columns, rows, caption)


def _row(one: Captured) -> tuple[str, ...]:
    differs = (text.NONE, text.NONE) if one.differs is None else tuple(f"{nats:.2g}" for nats in one.differs)
    return (one.label, one.backend, one.dtype, text.count(one.tokens), f"{one.bits_per_byte:.3f}", *differs)
