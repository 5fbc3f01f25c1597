"""`filter` of a corpus: records by the values of their columns, compared exactly."""

from collections import Counter
from collections.abc import Mapping

Scalar = str | int | float | bool | None
Filter = Mapping[str, Scalar | tuple[Scalar, ...]]
SHOWN_VALUES = 5
SHOWN_CHARACTERS = 40


def passes(record: object, wanted: Filter) -> bool:
    """Whether each of the filter's columns has the wanted value, or one of them; an absent one is null."""
    said = record if isinstance(record, dict) else {}
    return all(
        any(equal(said.get(column), one) for one in (value if isinstance(value, tuple) else (value,)))
        for column, value in wanted.items()
    )


def equal(value: object, wanted: Scalar) -> bool:
    """Whether two values are equal: 5 is 5.0, but neither "5" nor true."""
    return isinstance(value, bool) == isinstance(wanted, bool) and value == wanted


def shown(values: Mapping[str, int]) -> str:
    """The values of a column in words, the most frequent first: `'code' (12), null (3) and 4 others`."""
    ordered = Counter(values).most_common()
    said = [f"{value} ({count})" for value, count in ordered[:SHOWN_VALUES]]
    more = [f"and {len(ordered) - SHOWN_VALUES} others"] if len(ordered) > SHOWN_VALUES else []
    return " ".join([", ".join(said), *more])


def word(value: object) -> str:
    """A value as a recipe writes it, cut if it is long."""
    known = {None: "null", True: "true", False: "false"}
    if value is None or isinstance(value, bool):
        return known[value]
    said = repr(value)
    return said if len(said) <= SHOWN_CHARACTERS else f"{said[:SHOWN_CHARACTERS]}..."
