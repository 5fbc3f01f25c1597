"""The weights of the step with the best held-out bits per byte, saved beside the checkpoints."""

import shutil
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors.torch import load_file, save_file

from fusionchat.artifacts import read_json, write_json
from fusionchat.distill.bf16_weights import NarrowModel
from fusionchat.distill.parallel import wait_for_all
from fusionchat.distill.sharded_checkpoints import load_weights, save_weights, trained
from fusionchat.distill.student import Student

FOLDER, WEIGHTS, ABOUT = "best", "model.safetensors", "best.json"


class Best(NamedTuple):
    """A step, and the held-out bits per byte after it."""

    step: int
    bits_per_byte: float


class BestWeights:
    """The best step so far; a resumed training finds the saved one.

    Args:
        checkpoints: The folder of the training's checkpoints.
        sharded: Whether each process has a part of the student.
        writes: Whether this process writes what only one process writes.
    """

    def __init__(self, checkpoints: Path, *, sharded: bool, writes: bool) -> None:
        self.folder, self.sharded, self.writes = checkpoints / FOLDER, sharded, writes
        self.best = read_best(self.folder)

    def offer(self, found: Best, student: Student, narrow: NarrowModel | None) -> None:
        """Save the weights of a step if it is the best so far.

        Every process calls it with the same figure.
        """
        if self.best is not None and found.bits_per_byte >= self.best.bits_per_byte:
            return
        self.best = found
        place = self.folder.with_name(f"{FOLDER}-{found.step}")
        wait_for_all()
        if self.writes:
            shutil.rmtree(place, ignore_errors=True)
            place.mkdir(parents=True)
        wait_for_all()
        if self.sharded:
            save_weights(student, place)
        elif self.writes:
            save_file({n: _wide(p, narrow) for n, p in trained(student).items()}, place / WEIGHTS)
        wait_for_all()
        if self.writes:  # complete once it is renamed
            write_json(place / ABOUT, found._asdict())
            shutil.rmtree(self.folder, ignore_errors=True)
            place.rename(self.folder)

    @torch.no_grad()
    def restore(self, student: Student) -> None:
        """Load the saved weights into the student.

        Called while each process still has a part of it, or once it is whole and in fp32.
        """
        if self.sharded:
            load_weights(student, self.folder)
            return
        held = load_file(self.folder / WEIGHTS)
        for name, parameter in trained(student).items():
            parameter.copy_(held[name])


def read_best(folder: Path) -> Best | None:
    """The step whose weights are saved in a folder; None if there is none."""
    if not (folder / ABOUT).is_file():
        return None
    held = read_json(folder / ABOUT)
    return Best(int(str(held["step"])), float(str(held["bits_per_byte"])))


def _wide(parameter: torch.nn.Parameter, narrow: NarrowModel | None) -> torch.Tensor:
    part = None if narrow is None else narrow.parts.get(parameter)
    return parameter.detach() if part is None else part.wide().cpu()
