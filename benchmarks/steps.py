"""Steps of a long benchmark, whose results are kept in a file: started again, it goes on where it was."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any


class Steps:
    """Results by the names of the steps; what is in the file is not made again.

    Args:
        path: A file of JSON lines, each with the name of a step and its result.
        then: Called after each step that was made, with all results.
    """

    def __init__(self, path: Path, then: Callable[[dict[str, Any]], None] | None = None) -> None:
        self.path, self.then = path, then
        lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
        self.held: dict[str, Any] = {}
        for line in lines:
            self.held.update(json.loads(line))

    def step(self, name: str, make: Callable[[], Any]) -> Any:
        """The result of a step, made now if the file does not have it."""
        if name not in self.held:
            self.held[name] = make()
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps({name: self.held[name]}) + "\n")
            if self.then is not None:
                self.then(self.held)
        return self.held[name]
