"""Columns of any name, read as the columns that formats know.

`columns: {prompt: problem, completion: solution}`.
"""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from fusionchat.corpus.columns import SYSTEM_COLUMNS
from fusionchat.corpus.formats import FORMATS, FormatName
from fusionchat.corpus.formats.base import ANSWER_COLUMNS
from fusionchat.corpus.formats.questions import CONTEXT_COLUMNS
from fusionchat.corpus.keys import harmless
from fusionchat.corpus.turns import ROLE_KEYS, TEXT_KEYS

IN_TURNS = {ROLE_KEYS[0]: ROLE_KEYS, TEXT_KEYS[0]: TEXT_KEYS}
"""The roles of keys of turns, each with the keys that are read without a mapping."""

OF_FORMATS = [name for one in FORMATS.values() for name in (*one.columns, *one.answers)]
ROLES = tuple(
    dict.fromkeys(
        [*OF_FORMATS, *ANSWER_COLUMNS, *CONTEXT_COLUMNS, "history", SYSTEM_COLUMNS[0], "id", *IN_TURNS]
    )
)
"""The roles as which a column may be read."""


class Names(NamedTuple):
    """The names of a corpus's columns.

    Attributes:
        columns: The column for each role whose name differs.
        domain: The domain of all records.
        domain_column: The column with the domain.
    """

    columns: Mapping[str, str] = {}
    domain: str | None = None
    domain_column: str | None = None

    @property
    def wanted(self) -> dict[str, str]:
        """The columns that are named, by the setting that names them."""
        named = {f"columns.{role}": column for role, column in self.columns.items()}
        return named | ({"domain.column": self.domain_column} if self.domain_column is not None else {})

    def format(self, asked: FormatName) -> FormatName:
        """The format of the mapped roles, if the recipe names none."""
        fitting = (name for name, one in FORMATS.items() if self.columns.keys() & set(one.columns))
        return next(fitting, asked) if asked == "auto" else asked

    def read(self, record: Mapping[str, object]) -> dict[str, object]:
        """A record with every mapped column under its role.

        A column whose name is a role that another column has is not read; it is kept under a name that is
        counted.
        """
        columns = {role: column for role, column in self.columns.items() if role not in IN_TURNS}
        taken = set(columns.values())
        read = {}
        for key, value in record.items():
            if key not in taken and key not in columns:
                read[key] = self._turns(value)
            elif key not in taken and not harmless(key, value):
                read[f"{key} (another column is read as it)"] = value
        read |= {role: self._turns(record[column]) for role, column in columns.items() if column in record}
        if self.domain is not None:
            read["domain"] = self.domain
        elif self.domain_column is not None:
            read.pop("domain", None)
            read |= {"domain": record[self.domain_column]} if self.domain_column in record else {}
        return read

    def _turns(self, value: object) -> object:
        """A list of turns (or one of them, or one list a key) with the mapped keys under their roles."""
        inner = {self.columns[role]: role for role in IN_TURNS if role in self.columns}
        if not inner:
            return value
        if isinstance(value, list):
            return [self._turns(one) if isinstance(one, dict) else one for one in value]
        if not isinstance(value, dict) or not inner.keys() & value.keys():
            return value
        other = {key for role in inner.values() for key in IN_TURNS[role]} - inner.keys()
        return {inner.get(key, key): cell for key, cell in value.items() if key not in other}


AS_THEY_ARE = Names()
TURN_SETTINGS = frozenset(f"columns.{role}" for role in IN_TURNS)
"""Settings that name keys of turns; the others name columns."""


def keys_of_turns(record: object) -> Iterator[str]:
    """The keys of the objects in a record's values, or of the turns if the record is a list."""
    values = record.values() if isinstance(record, dict) else [record]
    for value in values:
        turns = value if isinstance(value, list) else [value]
        yield from (str(key) for turn in turns if isinstance(turn, dict) for key in turn)
