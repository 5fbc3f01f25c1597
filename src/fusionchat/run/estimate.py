"""Rough costs of jobs before anything has run.

They are estimated from the headers of checkpoints and the size of the corpus.
"""

import gzip
import zlib
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from functools import lru_cache
from math import prod
from pathlib import Path

from fusionchat.artifacts import stamp_of
from fusionchat.corpus.located import locate
from fusionchat.corpus.settings import CorpusFile
from fusionchat.distill.precision import bytes_kept
from fusionchat.distill.settings import TrainingSettings
from fusionchat.distill.trainable import FULL
from fusionchat.errors import CorpusError, MergeError
from fusionchat.evaluate.tasks import ALWAYS
from fusionchat.evaluate.tasks.base import PartSize, Task
from fusionchat.hub import configuration_folder, here, hub_parameters
from fusionchat.merge.inputs.checkpoint import open_checkpoint
from fusionchat.merge.inputs.files import is_without_weights
from fusionchat.merge.weights import layer_of
from fusionchat.models.gguf import read_header
from fusionchat.models.opening import PLAIN, Opening
from fusionchat.models.quantization import bits_of, held_quantization
from fusionchat.models.ref import ModelRef
from fusionchat.recipe.schema import Recipe
from fusionchat.run.assumed import assumed
from fusionchat.run.job import Cost
from fusionchat.run.structure import CONFIG, Tensors, configuration, count, structure, used_share

BYTES_A_TOKEN = 4.0
COMPRESSION = 3.0
RECORD_TOKENS = 660.0
"""Tokens of a dialogue: the paper's 95,000 dialogues have 63 million."""
LOOKED_AT = 1 << 18
"""Bytes of a corpus file from which the size of a record is estimated."""
DISK_RATE = 200e6
"""Bytes a second that a job without a GPU is assumed to write."""
CHECKPOINTS = 2
"""One is kept, and the next is written before it is deleted."""
OVERHEAD = 2e9
"""Bytes of a process with torch, and of its activations at a usual batch: a rough guess."""
ROW_BYTES = 7
"""Bytes of a row beside its slots: the tail, the label's log-probability, a column of an alignment."""
ID_BYTES, LOGPROB_BYTES = 4, {"float16": 2, "uint8": 1}
"""Bytes of a slot; ids of a vocabulary of up to 65,536 need two bytes less."""
COMPRESSED = {"none": 1.0, "zstd": 0.6}
RENDERED_BYTES = 6
"""Bytes of a token of a rendering: its id, and whether it is supervised."""


def parameters(ref: ModelRef) -> int | None:
    """Elements of a model's tensors, dequantized, from file headers or the hub; None if unknown.

    With only a configuration on this machine, they are those of the structure.
    """
    place = ref.place
    if ref.name in assumed().parameters:
        return int(assumed().parameters[ref.name])
    if place.file is not None:
        path = here(place)
        return hub_parameters(place) if path is None else _of_gguf(path, *stamp_of(path))
    tensors = tensors_of(ref)
    if tensors is not None:
        return count(tensors)
    return None if place.path is not None else hub_parameters(place)


def used_parameters(ref: ModelRef) -> float | None:
    """Parameters that one token goes through, without experts that it does not use; None if unknown."""
    size = parameters(ref)
    if size is None or ref.name in assumed().parameters:
        return size
    tensors, folder = tensors_of(ref), configuration_folder(ref.place)
    return float(size) if tensors is None else size * used_share(tensors, configuration(folder))


def tensors_of(ref: ModelRef) -> Tensors | None:
    """Shapes of a model's tensors, dequantized, by name, from weights or configuration; None without."""
    folder = None if ref.place.file is not None else configuration_folder(ref.place)
    if folder is None:
        return None
    if held_quantization(ref) is not None or (is_without_weights(folder) and (folder / CONFIG).is_file()):
        return structure(folder)
    return _tensors(folder, _stamps(folder))


Stamps = tuple[tuple[str | int, ...], ...]
"""Name, size and time of some files, as the key of a cache.

While they are unchanged, headers are not read again; a plan needs a model's five times.
"""


def _stamps(folder: Path) -> Stamps:
    files = sorted(folder.iterdir()) if folder.is_dir() else []
    return tuple((path.name, *stamp_of(path)) for path in files if path.is_file())


@lru_cache(maxsize=64)
def _of_gguf(path: Path, size: int, time: int) -> int:
    return read_header(path).count


@lru_cache(maxsize=64)
def _tensors(folder: Path, stamps: Stamps) -> Tensors | None:
    try:
        with closing(open_checkpoint(folder, allow_pickle=True)) as checkpoint:
            return {name: tuple(tensor.shape) for name, tensor in checkpoint.tensors.items()}
    except MergeError:  # the run says what is wrong with it
        return None


def train_tokens(recipe: Recipe) -> float | None:
    """Tokens of the training part, from the sizes of its files; None if a hub dataset is among them."""
    return part_tokens(recipe, "train")


def corpus_size(recipe: Recipe) -> float | None:
    """Bytes of the training part's text and of its renderings."""
    tokens, models = train_tokens(recipe), 1 + len(recipe.sources)
    return None if tokens is None else tokens * (BYTES_A_TOKEN + RENDERED_BYTES * models)


def part_tokens(recipe: Recipe, part: str) -> float | None:
    """Tokens of a part that is not drawn, from the sizes of its files; None if unknown.

    What filters and limits will remove is not known.
    """
    if part == "train" and assumed().tokens is not None:
        return assumed().tokens
    return total(_tokens(entry, recipe.folder) for entry in recipe.corpus.entries(part).values())


def _tokens(entry: CorpusFile, folder: str) -> float | None:
    try:
        found = locate(entry.path, folder, entry.revision)
    except CorpusError:  # the run says what is wrong with it
        return None
    if found.hub is not None:
        return None
    size = sum(
        file.stat().st_size * (COMPRESSION if file.suffix in (".gz", ".parquet") else 1.0)
        for file in found.files
    )
    if entry.limit is not None and (line := _line_bytes(found.files[0])) is not None:
        size = min(size, entry.limit * line)
    return size / BYTES_A_TOKEN * (entry.share or 1.0)


def _record_tokens(entry: CorpusFile, folder: str) -> float:
    """Tokens of an entry's average conversation, from the first ones; a typical number if these fail."""
    try:
        found = locate(entry.path, folder, entry.revision)
    except CorpusError:  # the run says what is wrong with it
        return RECORD_TOKENS
    line = None if found.hub is not None else _line_bytes(found.files[0])
    return RECORD_TOKENS if line is None else line / BYTES_A_TOKEN


def _line_bytes(file: Path) -> float | None:
    """Bytes of a record of a file with one per line, from its first ones; None for other files."""
    if ".jsonl" not in file.suffixes:
        return None
    try:
        with gzip.open(file) if file.suffix == ".gz" else file.open("rb") as opened:
            first = opened.read(LOOKED_AT)
    except (OSError, EOFError, zlib.error):  # the run says what is wrong with it
        return None
    return len(first) / max(first.count(b"\n"), 1)


def capture_cost(recipe: Recipe, ref: ModelRef) -> Cost:
    """The cost of one forward pass over the corpus (2 operations per parameter and token) and its shards."""
    tokens, size = train_tokens(recipe), used_parameters(ref)
    return Cost(shards(recipe), None if tokens is None or size is None else 2.0 * size * tokens)


def capture_memory(ref: ModelRef, dtype: str, opening: Opening = PLAIN) -> float | None:
    """Bytes of a model's weights in a dtype, or as quantized, and of its activations."""
    size = parameters(ref)
    return None if size is None else size * weight_bytes(ref, dtype, opening) + OVERHEAD


def weight_bytes(ref: ModelRef, dtype: str, opening: Opening = PLAIN) -> float:
    """Bytes of a weight in memory; for a quantized one from its bits.

    A twentieth is added for scales and layers that are not quantized.
    """
    held = opening.quantization or (None if ref.name == "pivot" else held_quantization(ref))
    bits = None if held is None else bits_of(held)
    return (4.0 if dtype == "float32" else 2.0) if bits is None else 1.05 * bits / 8


def trained_parameters(recipe: Recipe, pivot: ModelRef, how: TrainingSettings | None = None) -> int | None:
    """Parameters that are trained: all, or those of factors and modules trained whole; None if unknown.

    A matrix of P x Q in the layers has r (P + Q) in its factors (arXiv 2106.09685); its name ends in a
    target's.
    """
    part, tensors = (how or recipe.distill).train, tensors_of(pivot)
    if part == FULL:
        return parameters(pivot)
    if tensors is None:
        return None
    factors, found = part.factors, 0
    for name, shape in tensors.items():
        module = f".{name.rpartition('.')[0]}"
        if module.endswith(tuple(f".{saved}" for saved in factors.modules_to_save)):
            found += prod(shape)
        elif _has_factors(module, shape, factors.targets):
            found += factors.r * sum(shape)
    return found


def _has_factors(module: str, shape: tuple[int, ...], targets: tuple[str, ...]) -> bool:
    """Whether a tensor is a matrix of the layers that gets factors."""
    if len(shape) != 2 or layer_of(module) is None:
        return False
    return not targets or module.endswith(tuple(f".{one}" for one in targets))


def shards(recipe: Recipe) -> float | None:
    """Bytes of one model's shards."""
    tokens, kept = train_tokens(recipe), recipe.represent
    slot = ID_BYTES + LOGPROB_BYTES[kept.logprobs]
    return None if tokens is None else tokens * (ROW_BYTES + slot * kept.k) * COMPRESSED[kept.compression]


def training_cost(recipe: Recipe, pivot: ModelRef, how: TrainingSettings | None = None) -> Cost:
    """The cost of a training: forward and backward passes, the saved target in fp32, and its checkpoints.

    6 operations per parameter and token; 4 for frozen weights, which have no gradient of their own.
    """
    tokens, size, trained = (
        train_tokens(recipe),
        used_parameters(pivot),
        trained_parameters(recipe, pivot, how),
    )
    how = how or recipe.distill
    each = 6.0 if how.train == FULL else 4.0
    flops = None if tokens is None or size is None else each * size * tokens * how.epochs
    if trained is None:
        return Cost(None, flops, None)
    kept = bytes_kept(how.precision, how.optim)
    return Cost(4.0 * trained, flops, CHECKPOINTS * kept * trained)


def merge_cost(recipe: Recipe, pivot: ModelRef) -> Cost:
    """The cost of a merge: one model in the fused dtype, and a few operations per element."""
    size = parameters(pivot)
    if size is None:
        return Cost()
    width = 4 if recipe.fused.dtype == "float32" else 2
    return Cost(float(width * size), 4.0 * size * (len(recipe.sources) + 1))


def part_size(recipe: Recipe, part: str) -> PartSize | None:
    """The approximate size of a part; None if a hub dataset is among its files."""
    own = getattr(recipe.corpus, part)
    if isinstance(own, float):
        train = part_size(recipe, "train")
        return None if train is None else PartSize(train.tokens * own, train.conversations * own)
    tokens = part_tokens(recipe, part)
    each = [_record_tokens(entry, recipe.folder) for entry in recipe.corpus.entries(part).values()]
    return None if tokens is None else PartSize(tokens, tokens * len(each) / sum(each))


def evaluation_cost(
    recipe: Recipe,
    ref: ModelRef,
    part: str,
    tasks: Sequence[Task] = ALWAYS,
    files: Mapping[str, Path] = {},
) -> Cost:
    """The cost of tasks over a held-out part; ``files`` are those that they read, by ``TASK.SETTING``."""
    held, size = part_size(recipe, part), used_parameters(ref)
    if held is None or size is None:
        return Cost(0.0, None)
    tokens = sum(
        task.tokens(held, {key: files[f"{task.name}.{key}"] for key in task.reads}) for task in tasks
    )
    return Cost(0.0, 2.0 * size * tokens)


def most_disk(costs: Sequence[Cost]) -> float | None:
    """The most bytes on disk that a run needs: all that stays, plus the most of one job; None if unknown."""
    scratch = [cost.scratch for cost in costs]
    known = [part for part in scratch if part is not None]
    kept = total(cost.disk for cost in costs)
    return None if kept is None or len(known) < len(scratch) else kept + max(known, default=0.0)


def total(parts: Iterable[float | None]) -> float | None:
    """The sum; None if a part is unknown."""
    known = list(parts)
    return None if None in known else float(sum(part or 0.0 for part in known))


def work(flops: float | None) -> str:
    """Floating-point operations for a table."""
    if flops is None:
        return "?"
    for power, unit in ((18, "EFLOP"), (15, "PFLOP"), (12, "TFLOP"), (9, "GFLOP"), (6, "MFLOP")):
        if flops >= 10**power:
            return f"{flops / 10**power:.1f} {unit}"
    return "-"
