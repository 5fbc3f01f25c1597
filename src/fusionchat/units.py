"""Numbers as text: counts with their noun, durations, sizes."""


def counted(count: int, noun: str, plural: str | None = None) -> str:
    """A count and its noun, ``1 conversation``, ``1,200 conversations``; ``plural`` where it is not the noun and an s."""
    return f"{count:,} {noun if count == 1 else plural or noun + 's'}"


def duration(seconds: float) -> str:
    """A length of time in its two largest units: ``12 s``, ``1 min 12 s``, ``3 h 5 min``, ``2 d 4 h``; ``0.4 s`` below ten."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    rest = round(seconds)
    for size, unit, small_size, small in (
        (86400, "d", 3600, "h"),
        (3600, "h", 60, "min"),
        (60, "min", 1, "s"),
    ):
        if rest >= size:
            return f"{rest // size} {unit} {rest % size // small_size} {small}"
    return f"{rest} s"
