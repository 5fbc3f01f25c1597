"""Models, settings and references for `benchmarks.merge_correctness`."""

import json
import random
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from tests.reference import merge as reference

from fusionchat.merge.methods import METHODS
from fusionchat.merge.methods.base import Method
from fusionchat.merge.stream.merge import merge_models

# J targets

Arrays = dict[str, np.ndarray]
CONFIG = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": 4200, "hidden_size": 256,
          "intermediate_size": 700, "num_attention_heads": 4, "num_key_value_heads": 2, "tie_word_embeddings": True}  # fmt: skip


class Numbers(NamedTuple):
    """Settings of the methods that have them: weights of the targets, DARE's and DELLA's density, DELLA's epsilon."""

    weight: tuple[float, float, float]
    density: float
    epsilon: float


BINARY = Numbers((1.0, 0.5, 0.25), 0.5, 0.125)
"""Numbers that float64 holds exactly, so that a value in the middle of two stored ones is one in float64 too."""
DECIMAL = Numbers((1.0, 0.6, 0.3), 0.3, 0.15)
"""Numbers that it does not hold."""


class Case(NamedTuple):
    """A method's settings, its reference, and the same for mergekit.

    Attributes:
        method: Our settings.
        expected: The fused tensor in float64, from pivot, targets and what else the method needs (masks, information).
        each: mergekit's settings of every model, and of the merge.
        shared: mergekit's settings of the merge; None where it has no such method, or draws masks of its own.
        base: Which model is mergekit's base: the pivot, the first target, or none.
        targets: How many targets take part.
    """

    method: Method
    expected: Callable[[np.ndarray, np.ndarray, np.ndarray | None], np.ndarray]
    each: Mapping[str, float | tuple[float, ...]] = {}
    shared: Mapping[str, float] | None = None
    base: str | None = "pivot"
    targets: int = 3


def make(name: str, **settings: object) -> Method:
    return METHODS[name](**settings)


def cases(numbers: Numbers, information: tuple[str, ...] = ()) -> dict[str, Case]:
    """All methods that have a reference; ``information`` names the folders of the Fisher information."""
    weight, density, epsilon = numbers
    karcher = {
        "max_iter": 100,
        "tol": 1e-9,
    }  # to the end: the reference takes as many steps as there need to be
    crumbs = {"density": 0.9, "gamma": 0.01}
    drop = {"density": density, "weight": weight}

    def dare(p: np.ndarray, t: np.ndarray, kept: np.ndarray | None, elect: bool = False) -> np.ndarray:
        return reference.add(p, reference.changes(p, t) * kept / density, weight, elect=elect)

    def della(p: np.ndarray, t: np.ndarray, kept: np.ndarray | None) -> np.ndarray:
        delta = reference.changes(p, t)
        rows, last = delta.reshape(-1, delta.shape[-1]), max(delta.shape[-1] - 1, 1)
        low, step = np.float32(density - epsilon), np.float32(2 * epsilon / last)
        chance = low + step * row_ranks(rows).astype(np.float32)  # DELLA's chances are float32, by definition
        return reference.add(
            p,
            delta / chance.reshape(delta.shape).astype(np.float64) * kept,
            weight,
            elect=True,
            normalize=True,
        )

    every = [
        Case(make("varm"), lambda p, t, _: reference.varm(p, t)),
        Case(make("linear"), lambda p, t, _: reference.linear(p, t), {"weight": 1.0}, {}, None),
        Case(
            make("task_arithmetic", weight=weight),
            lambda p, t, _: reference.task_arithmetic(p, t, weight),
            {"weight": weight},
            {},
        ),
        Case(
            make("ties", density=0.2, weight=weight),
            lambda p, t, _: reference.ties(p, t, 0.2, weight=weight),
            {"weight": weight, "density": 0.2},
            {"normalize": True},
        ),
        Case(
            make("breadcrumbs", **crumbs),
            lambda p, t, _: reference.breadcrumbs(p, t, 0.9, 0.01, False),
            {"weight": 1.0, **crumbs},
            {"normalize": False},
        ),
        Case(
            make("sce", select_topk=0.1), lambda p, t, _: reference.sce(p, t, 0.1), {}, {"select_topk": 0.1}
        ),
        Case(make("slerp", t=0.3), lambda p, t, _: reference.slerp(*t, 0.3), {}, {"t": 0.3}, "t0", 2),
        Case(
            make("nuslerp", weight=weight[:2]),
            lambda p, t, _: p + reference.slerp(*reference.changes(p, t), weight[1] / sum(weight[:2])),
            {"weight": weight},
            {},
            targets=2,
        ),
        Case(
            make("multislerp", weight=weight),
            lambda p, t, _: p + reference.multislerp(reference.changes(p, t), weight),
            {"weight": weight},
            {},
        ),
        Case(make("karcher", **karcher), lambda p, t, _: reference.karcher(t, 30), {}, karcher, None),
        Case(make("model_stock"), lambda p, t, _: reference.model_stock(p, t), {}, {}),
        Case(make("dare_linear", **drop), dare),
        Case(make("dare_ties", **drop), lambda p, t, kept: dare(p, t, kept, True)),
        Case(make("della", **drop, epsilon=epsilon), della),
        Case(make("fisher", fisher=information), lambda p, t, f: reference.fisher(t, f)),
    ]
    return {case.method.method: case for case in every}


def row_ranks(rows: np.ndarray) -> np.ndarray:
    """`reference.row_ranks` by a sort: it compares every element with its whole row."""
    coarse = (np.abs(rows).astype(np.float32).view(np.uint32) >> 16).astype(np.int64)
    clipped = np.maximum(coarse, coarse.max(1, keepdims=True) - 2047)
    ranks = np.empty(rows.shape)
    for row, keys in enumerate(clipped):
        ordered = np.sort(keys)
        ranks[row] = (np.searchsorted(ordered, keys) + np.searchsorted(ordered, keys, "right") - 1) / 2
    return ranks


def round_once(values: np.ndarray) -> np.ndarray:
    """Float64 to the nearest of 8 significant bits, ties to even, kept as float64 (for numbers of a weight's size)."""
    fraction, exponent = np.frexp(values)
    return np.ldexp(np.rint(fraction * 256), exponent - 8)


# Models


def llama_shapes(layers: int) -> dict[str, tuple[int, ...]]:
    hidden, inner, narrow = 256, 700, 128
    shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (4200, hidden)}
    for n in range(layers):
        at = f"model.layers.{n}"
        for part, size in (
            ("q", (hidden, hidden)),
            ("k", (narrow, hidden)),
            ("v", (narrow, hidden)),
            ("o", (hidden, hidden)),
        ):
            shapes[f"{at}.self_attn.{part}_proj.weight"] = size
        for part, size in (("gate", (inner, hidden)), ("up", (inner, hidden)), ("down", (hidden, inner))):
            shapes[f"{at}.mlp.{part}_proj.weight"] = size
        shapes |= {f"{at}.{kind}_layernorm.weight": (hidden,) for kind in ("input", "post_attention")}
    return shapes | {"model.norm.weight": (hidden,)}


def save(folder: Path, tensors: Mapping[str, torch.Tensor], layers: int = 1) -> Path:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(CONFIG | {"num_hidden_layers": layers}))
    save_file(dict(tensors), folder / "model.safetensors", {"format": "pt"})
    return folder


def load(folder: Path) -> Arrays:
    files = sorted(folder.glob("*.safetensors"))
    return {name: t.float().numpy() for file in files for name, t in load_file(file).items()}


def family(
    root: Path,
    layers: int,
    sizes: tuple[float, float, float],
    dtype: Callable[[], torch.dtype],
    seed: int = 0,
) -> tuple[Path, dict[str, Path]]:
    """A pivot (deviation 0.02) and three targets; a third of their changes' squares is common to them."""
    rng = np.random.default_rng(seed)
    models: list[dict[str, torch.Tensor]] = [{}, {}, {}, {}]
    for name, shape in llama_shapes(layers).items():
        common, *own = (rng.standard_normal(shape, np.float32) for _ in (*sizes, 0))
        base = 0.02 * rng.standard_normal(shape, np.float32)
        values = [
            base,
            *(base + s * (0.577 * common + 0.816 * d) for s, d in zip(sizes, own, strict=True)),
        ]
        for model, value in zip(models, values, strict=True):
            model[name] = torch.from_numpy(value.astype(np.float32)).to(dtype())
    pivot = save(root / "pivot", models[0], layers)
    return pivot, {f"t{j}": save(root / f"t{j}", m, layers) for j, m in enumerate(models[1:])}


def mixed(seed: int) -> Callable[[], torch.dtype]:
    draw = random.Random(seed)
    return lambda: draw.choice((torch.bfloat16, torch.float32))


def dare_masks(root: Path, layers: int, density: float) -> Arrays:
    """By tensor, which changes of the three targets DARE keeps: one merge of ones that count 1, 2 and 4."""
    shapes = llama_shapes(layers)
    zeros = save(root / "zeros", {name: torch.zeros(shape) for name, shape in shapes.items()}, layers)
    ones = save(root / "ones", {name: torch.ones(shape) for name, shape in shapes.items()}, layers)
    method = make("dare_linear", density=density, rescale=False, weight=(1.0, 2.0, 4.0))
    merge_models(zeros, dict.fromkeys("abc", ones), method, root / "masks", dtype="float32")
    codes = {name: value.astype(np.int64) for name, value in load(root / "masks").items()}
    return {name: np.stack([code & 1, code & 2, code & 4]) != 0 for name, code in codes.items()}


def della_masks(root: Path, pivot: Arrays, targets: list[Arrays], layers: int, numbers: Numbers) -> Arrays:
    """By tensor, which changes DELLA keeps (and are not 0): the changes on a pivot of zeros, one target counting at a time."""
    zeros = save(root / "zeros", {name: torch.zeros(v.shape) for name, v in pivot.items()}, layers)
    folders = {
        f"t{j}": save(
            root / f"d{j}", {name: torch.from_numpy(t[name] - v) for name, v in pivot.items()}, layers
        )
        for j, t in enumerate(targets)
    }
    kept = []
    for j in range(3):
        alone = {"weight": tuple(np.eye(3)[j]), "elect_sign": False, "normalize": False}
        method = make("della", density=numbers.density, epsilon=numbers.epsilon, **alone)
        merge_models(zeros, folders, method, root / f"kept{j}", dtype="float32")
        kept.append(load(root / f"kept{j}"))
    return {name: np.stack([k[name] for k in kept]) != 0 for name in pivot}
