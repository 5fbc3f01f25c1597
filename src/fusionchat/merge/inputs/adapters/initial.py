"""The factors that an adapter began with, if its folder has them.

They determine what was removed from the base weights.
"""

# O outputs, I inputs, R rank

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fusionchat.errors import MergeError
from fusionchat.merge.inputs.adapters.config import Settings, read_settings
from fusionchat.merge.inputs.adapters.factors import Pair
from fusionchat.merge.inputs.adapters.file import Contents, open_weights, read_contents
from fusionchat.merge.inputs.stored import MappedFile

Factors = Callable[[], tuple[np.ndarray, np.ndarray]]
"""Reads scale * B, [O, R], and A, [R, I]."""


@dataclass(frozen=True)
class Initial:
    """An adapter as it was before training.

    Attributes:
        file: Its weight file.
        settings: Its settings.
        contents: Its tensors.
    """

    file: MappedFile
    settings: Settings
    contents: Contents

    @classmethod
    def of(cls, folder: Path) -> "Initial":
        """The opened initial adapter; raises MergeError if it cannot be read."""
        file = open_weights(folder, False)
        try:
            return cls(file, read_settings(folder), read_contents(file))
        except BaseException:
            file.close()
            raise

    def factors(self, pair: Pair, settings: Settings) -> Factors:
        """The initial factors of a module, in the shapes of the trained ones.

        Raises:
            MergeError: They are missing or have other shapes.
        """
        held = self.contents.modules.get(pair.module, {})
        first = Pair.of(pair.module, held, settings)
        if first is None or not first.are_matrices or first.sides != pair.sides:
            raise MergeError(
                f"The adapter's initial factors of {pair.module} are missing or of another shape",
                where=str(self.file.path),
                do="use the folder that was saved before this training, or remove it",
            )
        scale = self.settings.scale_of(pair.module, first.shapes[1][0])

        def read() -> tuple[np.ndarray, np.ndarray]:
            up_OR, down_RI = first.read()
            return scale * up_OR, down_RI

        return read
