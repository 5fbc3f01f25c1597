"""A stage that copies text, and a run of its jobs, without models."""

from pathlib import Path
from types import SimpleNamespace

from fusionchat.errors import DamagedError
from fusionchat.models.ref import ModelRef
from fusionchat.run.auto import Resolved
from fusionchat.run.plan import Run
from fusionchat.runtime import RuntimeSettings
from fusionchat.settings import Frozen

DTYPES = Resolved({"represent.dtype": "float32", "evaluate.dtype": "float32"}, {}, {})


class Words(Frozen):
    """A job's settings."""

    text: str = "a"


class Toy:
    """Writes the settings' text after what the needed jobs wrote, and says how long that is.

    A text of "boom" is an error; ``made`` lists the jobs worked on; a file that is ``watched`` is refused as damaged.
    """

    VERSION = 3

    def __init__(self):
        self.made, self.watched = [], {}

    def settings_of(self, held):
        return Words.model_validate(held)

    def work(self, settings, inputs, out, ctx):
        if ctx.helps:  # a helper makes only what is missing of a capture, and never a file that another makes
            return {}
        self.made.append(inputs.job.id)
        before = ""
        for need in inputs.job.needs:
            path = inputs.folder(need) / "words.txt"
            if self.watched.get(path, "") not in ("", path.read_text()):
                raise DamagedError("It is damaged", path=path, folder=inputs.folder(need))
            before += path.read_text()
        if settings.text == "boom":
            raise ValueError(settings.text)
        (out / "words.txt").write_text(before + settings.text)
        (out / "notes.txt").write_text("rewritten later")
        return {"length": len(before + settings.text)}

    def so_far(self, settings, inputs, out):
        return "1 of 2 words" if (out / "half.txt").is_file() else ""


def toy_run(folder: Path, toy: Toy | None = None, **runtime) -> Run:
    """A run without jobs."""
    recipe = SimpleNamespace(runtime=RuntimeSettings(**{"device": "cpu", **runtime}))
    refs = {name: ModelRef(name, f"models/{name}", f"models/{name}") for name in ("pivot", "source")}
    return Run(recipe, refs, folder, {"toy": toy or Toy()}, DTYPES, threads=1)


def chain(folder: Path, toy: Toy | None = None, texts=("a", "b", "c"), **options) -> Run:
    """Jobs toy/0, toy/1, ..., each of which needs the one before; ``options`` are of the first."""
    planned = toy_run(folder, toy)
    for n, text in enumerate(texts):
        needs = (f"toy/{n - 1}",) if n else ()
        planned.add("toy", str(n), Words(text=text), needs=needs, **({} if n else options))
    return planned
