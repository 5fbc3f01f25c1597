"""Every error that a user can cause or meet: what happened, where, and what to do about it.

Exit codes: 2 for a mistake in the user's input (recipe, corpus, model), 3 for a machine that cannot continue
(full disk, unwritable folder, out of memory). Anything else is a bug in FusionChat.
"""

from pathlib import Path


class FusionChatError(Exception):
    """A mistake in the user's input; ``str()`` is the message as it is shown.

    Args:
        what: What is wrong, in one sentence.
        where: A YAML path, a file, a record id.
        do: What to do about it.
    """

    exit_code = 2

    def __init__(self, what: str, *, where: str | None = None, do: str | None = None) -> None:
        self.what, self.where, self.do = what, where, do
        lines = [what]
        if where:
            lines.append(f"  where: {where}")
        if do:
            lines.append(f"  do:    {do}")
        super().__init__("\n".join(lines))


class RecipeError(FusionChatError):
    """The recipe cannot be read or asks for something impossible."""


class CorpusError(FusionChatError):
    """The corpus cannot be read, or has nothing usable in it."""


class ModelError(FusionChatError):
    """A model, tokenizer or chat template is missing, broken or unsupported."""


class TokenizerError(ModelError):
    """A tokenizer cannot be expressed in bytes."""


class MergeError(FusionChatError):
    """Checkpoints cannot be merged."""


class ArtifactError(FusionChatError):
    """An artifact of a run is damaged or does not belong to this recipe."""


class DamagedError(ArtifactError):
    """A file of a job does not have the content that was written.

    Args:
        what: What is wrong with it.
        path: The file.
        folder: The job's folder.
    """

    def __init__(self, what: str, *, path: Path, folder: Path) -> None:
        self.path, self.folder = path, folder
        super().__init__(what, where=str(path), do=f"remove {folder} and run again; the rest is kept")


class TrainingError(FusionChatError):
    """A training's loss is not a number, or has grown too much."""


class MachineError(FusionChatError):
    """The machine cannot continue: full disk, unwritable folder, out of memory."""

    exit_code = 3
