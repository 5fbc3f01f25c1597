"""The tables of captures: backend, peakedness, and bits per byte by domain."""

from fusionchat.report import text
from fusionchat.report.figures import Captured
from fusionchat.report.model import Report
from fusionchat.report.tables import OVERALL, Cell, Table
from fusionchat.units import counted


def capture_tables(report: Report) -> list[Table]:
    """All tables of captures; none if nothing was captured."""
    if not report.captures:
        return []
    by_domain = [capture_domain_table(report)] if _domains(report) else []
    return [capture_table(report), spread_table(report), *by_domain]


def capture_table(report: Report) -> Table:
    """What captured each model."""
    columns = ("model", "by", "dtype", "tokens", "tokens/s", "off on average", "off at most")
    rows = tuple(_by_what(one) for one in report.captures)
    said = [
        "Tokens: scored tokens. Tokens/s: over all tokens of the text, in the process that finished the "
        "capture. Off: difference in nats of the log-probabilities of the text's own tokens from plain "
        "transformers in float32, on the conversations of the probe.",
        *(f"Not compared: {', '.join(names)} ({why})." for why, names in _unchecked(report).items()),
        *(
            f"{one.label}: {counted(one.halved, 'shard')} ran out of memory and used smaller batches."
            for one in report.captures
            if one.halved
        ),
    ]
    return Table("Captures", columns, rows, " ".join(said))


def _unchecked(report: Report) -> dict[str, list[str]]:
    """The models that were not compared, by reason."""
    found: dict[str, list[str]] = {}
    for one in report.captures:
        if one.differs is None:
            found.setdefault(one.unchecked, []).append(one.label)
    return found


def _by_what(one: Captured) -> tuple[Cell, ...]:
    differs = (text.NONE, text.NONE) if one.differs is None else tuple(f"{nats:.2g}" for nats in one.differs)
    speed = text.NONE if one.tokens_per_second is None else f"{one.tokens_per_second:,.0f}"
    words = (Cell(one.backend, tone="text"), Cell(one.dtype, tone="text"))
    return (Cell(one.label), *words, *map(Cell, (text.count(one.tokens), speed, *differs)))


def spread_table(report: Report) -> Table:
    """How well each model predicts the text, and how peaked its distributions are."""
    kept = "/".join(str(k) for k in sorted({one.k for one in report.captures}))
    needed = ("tokens for 99 %: median", "tokens for 99 %: p95")
    columns = ("model", "bits per byte", "entropy", f"mass in top {kept}", *needed)
    sampled = max(one.sampled_rows for one in report.captures)
    caption = (
        "Bits per byte: of the training text, by the model alone. Entropy: bits per token. Tokens for 99 %: "
        "the fewest tokens with 99 % of the mass, median and 95th percentile."
    )
    if sampled:
        caption += (
            f" These and the entropy are of the full softmax of {counted(sampled, 'row')} drawn at random."
        )
    if any(one.entropy is None for one in report.captures):
        caption += " A dash: the program does not return the full softmax."
    return Table("Captured distributions", columns, tuple(map(_spread, report.captures)), caption)


def _spread(one: Captured) -> tuple[Cell, ...]:
    entropy = text.NONE if one.entropy is None else f"{one.entropy:.2f}"
    needed = (text.NONE if count is None else f"{count:,}" for count in (one.k99_median, one.k99_p95))
    parts = (one.label, f"{one.bits_per_byte:.3f}", entropy, text.percent(one.mass_kept), *needed)
    return tuple(map(Cell, parts))


def capture_domain_table(report: Report) -> Table:
    """Bits per byte of the training text by domain (rows) and model (columns).

    There are more domains than models.
    """
    rows = [(OVERALL, *(f"{one.bits_per_byte:.3f}" for one in report.captures))]
    rows += [(name, *(_of(one, name) for one in report.captures)) for name in _domains(report)]
    caption = "Bits per byte of the training text, by each model alone; lower is better."
    columns = ("domain", *(one.label for one in report.captures))
    return Table("Captured text by domain", columns, tuple(tuple(map(Cell, row)) for row in rows), caption)


def _of(one: Captured, domain: str) -> str:
    value = one.domains.get(domain)
    return text.NONE if value is None else f"{value:.3f}"


def _domains(report: Report) -> tuple[str, ...]:
    """The domains of the training text; none if it has only one."""
    found = sorted({name for one in report.captures for name in one.domains})
    return tuple(found) if len(found) > 1 else ()
