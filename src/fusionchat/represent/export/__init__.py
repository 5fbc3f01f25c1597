"""The formats of other trainers that distributions are exported to, one per file.

`FORMATS` has them by name.
"""

from collections.abc import Mapping

from fusionchat.represent.export.base import Format
from fusionchat.represent.export.distillkit import DistillKit
from fusionchat.represent.export.parquet import Parquet

FORMATS: Mapping[str, Format] = {"parquet": Parquet(), "distillkit": DistillKit()}

__all__ = ["FORMATS", "Format"]
