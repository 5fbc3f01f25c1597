"""Targets whose change contains rounding noise, and how far off that makes VaRM's shares."""

from collections.abc import Mapping
from pathlib import Path

from fusionchat.artifacts import read_json
from fusionchat.console import warn
from fusionchat.merge.methods import MergeMethod
from fusionchat.merge.methods.varm import Varm
from fusionchat.merge.stream.result import REPORT
from fusionchat.merge.weights import most_moved

TRAINING = "training.json"
"""The file of a training's figures in its job's folder."""
NOISE = "rounding_noise"
"""Its key for the rms of what rounding added to the change of a weight; absent if nothing."""
TRUSTED = 0.02
"""Shares that may be off by more than this are not to be trusted."""


def noise_of(model: Path) -> float:
    """The rounding noise of a target in its job's folder; 0 if none is recorded."""
    noted = model.parent / TRAINING
    found = read_json(noted).get(NOISE, 0.0) if noted.is_file() else 0.0
    assert isinstance(found, float | int)
    return float(found)


def warn_of_noise(method: MergeMethod, targets: Mapping[str, Path], merged: Path) -> float:
    """The largest shift of VaRM's shares by noise; warns if it exceeds `TRUSTED`."""
    noise = [noise_of(model) for model in targets.values()]
    if not isinstance(method, Varm) or not any(noise):
        return 0.0
    summary = read_json(merged / REPORT)["summary"]
    assert isinstance(summary, dict) and isinstance(summary["rms"], list)
    off = most_moved([one**2 for one in noise], [float(str(one)) ** 2 for one in summary["rms"]])
    if off > TRUSTED:
        noisy = ", ".join(name for name, one in zip(targets, noise, strict=True) if one)
        warn(
            f"VaRM counts the rounding of {noisy} as change, and its shares may be off by {off:.2f}: train with "
            "precision: {bf16_weights: {rounding: kahan}}, or merge with linear"
        )
    return off
