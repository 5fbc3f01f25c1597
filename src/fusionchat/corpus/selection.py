"""Which records of a corpus entry are read: those that pass its filter, up to its limit.

All others are counted.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping

from fusionchat.corpus.filters import Filter, passes, shown, word
from fusionchat.corpus.mapping import TURN_SETTINGS, keys_of_turns
from fusionchat.errors import CorpusError

FILTERED, OVER = "filtered out", "over the limit"
MOST_VALUES = 1000
"""The most different values of a filter's column that are remembered for a message."""
SHOWN_COLUMNS = 20


class Selection:
    """Selects records one after the other, and counts those that it leaves out.

    Args:
        wanted: The values that columns must have.
        limit: The most records that are selected.
        named: The columns that the recipe names, by the setting that names them; each must be in some record.
    """

    def __init__(self, wanted: Filter, limit: int | None, named: Mapping[str, str]) -> None:
        self.wanted, self.limit = wanted, limit
        self.unseen = {**named, **{f"filter.{column}": column for column in wanted}}
        self.left: Counter[str] = Counter()
        self.looked = self.taken = 0
        self.columns: dict[str, None] = {}
        self.values: defaultdict[str, Counter[str]] = defaultdict(Counter)

    def takes(self, record: object) -> bool:
        """Whether a record is read; a line that is not JSON passes every filter, to be counted as such."""
        self.looked += 1
        if self.unseen:
            self._look(record)
        if isinstance(record, dict | list) and not passes(record, self.wanted):
            self.left[FILTERED] += 1
            self._remember(record)
            return False
        if self.limit is not None and self.taken >= self.limit:
            self.left[OVER] += 1
            return False
        self.taken += 1
        return True

    def _look(self, record: object) -> None:
        """Note which of the columns not seen so far a record has."""
        own = {str(key): None for key in record} if isinstance(record, dict) else {}
        inner = dict.fromkeys(keys_of_turns(record) if TURN_SETTINGS & self.unseen.keys() else ())
        if len(self.columns) < SHOWN_COLUMNS:
            self.columns |= own | inner
        self.unseen = {
            setting: column
            for setting, column in self.unseen.items()
            if column not in (inner if setting in TURN_SETTINGS else own)
        }

    @property
    def full(self) -> bool:
        """Whether no further record would be selected."""
        return self.limit is not None and self.taken >= self.limit

    def _remember(self, record: object) -> None:
        """Remember the values that a filter has found, until a record has passed."""
        for column in self.wanted if not self.taken else ():
            found = self.values[column]
            value = word(record.get(column) if isinstance(record, dict) else None)
            if value in found or len(found) < MOST_VALUES:
                found[value] += 1

    def check(self) -> None:
        """Raise CorpusError if a column that the recipe names is in no record, or nothing passes the filter."""
        for setting, column in self.unseen.items() if self.looked else ():
            raise CorpusError(
                f"None of the {self.looked} records has a column {column!r}",
                do=f"correct `{setting}`; there are {', '.join(list(self.columns)[:SHOWN_COLUMNS]) or 'no columns'}",
            )
        if self.looked and not self.taken:
            has = "; ".join(f"`{column}` is {shown(values)}" for column, values in self.values.items())
            raise CorpusError(
                f"The filter matches none of the {self.looked} records",
                do=f"correct `filter`: numbers, texts and true or false are different values; {has}",
            )
