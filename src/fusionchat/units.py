"""Numbers as text: counts with their noun, durations, sizes, rates."""


def counted(count: int, noun: str, plural: str | None = None) -> str:
    """A count and its noun, ``1 conversation``, ``1,200 conversations``.

    ``plural`` for ``ends of turns``.
    """
    return f"{count:,} {noun if count == 1 else plural or noun + 's'}"


def duration(seconds: float) -> str:
    """A length of time: ``0.4 s``, ``12 s``, ``3 min 05 s``, ``2 h 07 min``, ``2 d 03 h``."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    if whole < 86400:
        return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
    return f"{whole // 86400} d {whole % 86400 // 3600:02d} h"


def size(count: float | None) -> str:
    """Bytes: ``999 B``, ``12 kB``, ``2.5 TB``; a question mark if unknown."""
    if count is None:
        return "?"
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def rate(a_second: float, unit: str) -> str:
    """A rate per second, or per minute if it is low: ``13 steps/s``, ``1.3 steps/s``, ``4 steps/min``."""
    if unit == "bytes":
        return f"{size(a_second)}/s"
    if 0 < a_second < 0.2:
        return f"{60 * a_second:.{1 if a_second < 1 / 60 else 0}f} {unit}/min"
    return f"{a_second:,.{1 if a_second < 10 else 0}f} {unit}/s"


def weight_text(weight: float) -> str:
    """A label weight with the fewest digits that identify it."""
    short = f"{weight:g}"
    return short if float(short) == weight else repr(weight)
