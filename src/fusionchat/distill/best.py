"""The weights of the step that was best on held-out conversations, kept beside the checkpoints until the training's end."""

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
    """A step, and the bits per byte after it."""

    step: int
    bits_per_byte: float


class BestWeights:
    """The best step so far; a training that is gone on with finds the one that was kept.

    Args:
        checkpoints: The folder of the training's checkpoints.
        sharded: Whether each process holds a part of the student.
        writes: Whether this process writes what one process writes.
    """

    def __init__(self, checkpoints: Path, *, sharded: bool, writes: bool) -> None:
        self.folder, self.sharded, self.writes = checkpoints / FOLDER, sharded, writes
        self.best = read_best(self.folder)

    def offer(self, found: Best, student: Student, narrow: NarrowModel | None) -> None:
        """Keep the weights of a step if it is better than those before; every process calls it with the same figure."""
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
        if self.writes:  # complete when it has its name
            write_json(place / ABOUT, found._asdict())
            shutil.rmtree(self.folder, ignore_errors=True)
            place.rename(self.folder)

    @torch.no_grad()
    def restore(self, student: Student) -> None:
        """Give the student the weights that were kept: while each process still holds a part, or once it is whole and wide."""
        if self.sharded:
            load_weights(student, self.folder)
            return
        held = load_file(self.folder / WEIGHTS)
        for name, parameter in trained(student).items():
            parameter.copy_(held[name])


def read_best(folder: Path) -> Best | None:
    """The step whose weights are kept in a folder, None where there is none."""
    if not (folder / ABOUT).is_file():
        return None
    held = read_json(folder / ABOUT)
    return Best(int(str(held["step"])), float(str(held["bits_per_byte"])))


def _wide(parameter: torch.nn.Parameter, narrow: NarrowModel | None) -> torch.Tensor:
    part = None if narrow is None else narrow.parts.get(parameter)
    return parameter.detach() if part is None else part.wide().cpu()
