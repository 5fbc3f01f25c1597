# T positions of a pass, N of its rows, V vocabulary, H hidden size, A width of attention, I inner width
"""The memory of a training: bytes of one process beyond what it uses before it loads a model.

Weights, gradients and the optimizer's state follow from the number of parameters; activations from what
autograd saves of a layer of the usual structure (two norms, attention, a gated perceptron), as
`torch.autograd.graph.saved_tensors_hooks` shows it:

    fp32   4 (6 H + 4 A + 4 I) per position and layer: norms and inputs of linear maps; q, k, v, result; perceptron
    bf16   26 H + 8 A + 8 I: norms stay in fp32, and each linear map has a bf16 copy of its input
    LoRA   2 H fewer numbers: a frozen norm does not save its result
"""

from collections.abc import Mapping
from typing import NamedTuple

from fusionchat.distill.precision import Bf16Weights, compensation, moments
from fusionchat.distill.products import CHUNK_GPU, cpu_rows
from fusionchat.distill.settings import TrainingSettings
from fusionchat.distill.trainable import FULL

NAMES = {
    "hidden": ("hidden_size", "n_embd", "d_model"),
    "layers": ("num_hidden_layers", "n_layer", "num_layers"),
    "heads": ("num_attention_heads", "n_head", "num_heads"),
    "vocabulary": ("vocab_size",),
}
"""The keys of a configuration that contain each size."""
FACTOR_INPUTS = 2
"""Results of norms that a layer with frozen norms does not save."""
GATHERED = 3
"""Whole layers in a process at once: the one that computes, the next one, and a buffer."""
NF4 = 0.53
"""Bytes of a weight in 4 bits with its scale."""
STAND_INS = 4
"""fp32 arrays of the size of the largest matrix while an optimizer steps on bf16 weights."""


class Shape(NamedTuple):
    """A model's sizes.

    Attributes:
        hidden, attention, keys, inner: H; width of all heads together; of the keys'; of the
            perceptron, of all experts that a token goes through.
        layers: The number of layers.
        vocabulary: V.
        tied: Whether embedding and head are one matrix.
        parameters: Of the whole model; 0 to compute them.
    """

    hidden: int
    attention: int
    keys: int
    inner: int
    layers: int
    vocabulary: int
    tied: bool
    parameters: int = 0

    @classmethod
    def of_config(cls, config: Mapping[str, object], parameters: int = 0) -> "Shape | None":
        """The sizes in a configuration (``config.json``); None if it lacks some."""
        inside = config.get("text_config")
        own = inside if isinstance(inside, dict) else config
        found = {key: next((own[n] for n in names if n in own), None) for key, names in NAMES.items()}
        if not all(isinstance(value, int) for value in found.values()):
            return None
        hidden, layers, heads, vocabulary = (int(str(found[key])) for key in NAMES)
        width = _int(own.get("head_dim"), hidden // heads)
        inner = _int(own.get("intermediate_size"), _int(own.get("n_inner"), 4 * hidden))
        experts = _int(own.get("num_experts_per_tok"), 1)
        keys = _int(own.get("num_key_value_heads"), heads) * width
        tied = bool(own.get("tie_word_embeddings", config.get("tie_word_embeddings", False)))
        return cls(hidden, heads * width, keys, inner * experts, layers, vocabulary, tied, parameters)

    @property
    def embedding(self) -> int:
        """V H."""
        return self.vocabulary * self.hidden

    @property
    def outside(self) -> int:
        """Parameters outside the layers."""
        return self.embedding * (1 if self.tied else 2)

    @property
    def size(self) -> int:
        """Parameters of the model, from the usual structure where unknown."""
        one = self.hidden * (2 * self.attention + 2 * self.keys + 3 * self.inner + 2)
        return self.parameters or self.outside + self.layers * one

    @property
    def layer(self) -> float:
        """Parameters of a layer."""
        return (self.size - self.outside) / self.layers

    def factors(self, r: int) -> int:
        """Parameters of factors of rank r beside every linear layer but the head."""
        sides = 4 * self.hidden + 2 * self.attention + 2 * self.keys + 3 * (self.hidden + self.inner)
        return self.layers * r * sides


class Footprint(NamedTuple):
    """Bytes of one process; `total` is the most at once.

    Attributes:
        frozen: Weights that are not trained.
        trained: Weights that are trained, with the compensations of bf16 weights or the copies of bf16
            passes.
        gradients: Of all trained weights.
        optimizer: Its state.
        activations: What the backward pass of a full pass needs.
        loss: Logits of a chunk, and the gradients of states and head.
        gathered: What FSDP2 has whole in a process.
        ends: What the end of a backward pass, or the optimizer's step, needs instead of activations and
            loss.
        loading: The most before the first step.
    """

    frozen: float
    trained: float
    gradients: float
    optimizer: float
    activations: float
    loss: float
    gathered: float
    ends: float
    loading: float

    @property
    def total(self) -> float:
        """The most at once."""
        held = self.frozen + self.trained + self.gradients + self.optimizer + self.gathered
        return max(self.loading, held + max(self.activations + self.loss, self.ends))


def footprint(
    shape: Shape,
    how: TrainingSettings,
    *,
    tokens: int,
    rows: int,
    trained: int | None = None,
    ranks: int = 1,
    sharded: bool = False,
    checkpointing: bool = False,
    gpu: bool = False,
) -> Footprint:
    """The memory of a training whose steps have several passes.

    Args:
        shape: Of the pivot.
        how: How it is trained.
        tokens: T, padding included.
        rows: N.
        trained: Trained parameters; None to compute them.
        ranks: Processes that share it.
        sharded: Whether each has a part (FSDP2).
        checkpointing: Whether activations are computed again in the backward pass.
        gpu: Whether it is a GPU's memory: logits then come in larger chunks, and loading uses the host's.
    """
    full, count = how.train == FULL, trained
    if count is None:
        count = shape.size if how.train == FULL else shape.factors(how.train.factors.r)
    narrow, parts = isinstance(how.precision, Bf16Weights), ranks if sharded else 1
    # 1. weights, gradients, moments: of each parameter, or of this process's part of it
    weight = 2.0 + compensation(how.precision) if narrow else 8.0 if how.half else 4.0
    frozen = 0.0 if full else _frozen(shape, how)
    gradient = 2.0 if narrow else 4.0
    # 2. activations: of all layers, or of one and the inputs of the others
    each = _activations(shape, half=how.half, full=full) * tokens
    activations = each + 4.0 * shape.hidden * tokens * shape.layers if checkpointing else each * shape.layers
    activations += 4.0 * 3 * shape.inner * tokens + 4.0 * 3 * shape.hidden * tokens
    # 3. the loss: a chunk of logits, the gradients of its states and of the head
    head = 4.0 * shape.embedding * full
    loss = _chunk(shape, rows, half=how.half, gpu=gpu) + 8.0 * rows * shape.hidden + head
    # 4. FSDP2: the matrices outside the layers stay whole, and some layers are
    whole = 4.0 * (shape.outside + GATHERED * shape.layer) if sharded else 0.0
    ends = max(2 * head, 4.0 * STAND_INS * shape.embedding if narrow else 0.0)
    return Footprint(
        frozen=frozen / parts,
        trained=weight * count / parts,
        gradients=gradient * count / parts,
        optimizer=moments(how.optim) * count / parts,
        activations=activations,
        loss=loss,
        gathered=whole,
        ends=ends,
        loading=0.0 if gpu else 4.0 * shape.size,
    )


def _frozen(shape: Shape, how: TrainingSettings) -> float:
    """Bytes of the frozen weights beside factors: layers in fp32, in bf16, or in 4 bits."""
    layers = shape.layer * shape.layers
    quantized = how.train != FULL and how.train.quantization is not None
    return (NF4 if quantized else 2.0 if how.half else 4.0) * layers + 4.0 * shape.outside


def _activations(shape: Shape, *, half: bool, full: bool) -> float:
    """Bytes of a position in a layer."""
    kept = 0 if full else FACTOR_INPUTS
    if half:
        return (26.0 - 4 * kept) * shape.hidden + 8.0 * shape.attention + 8.0 * shape.inner
    return 4.0 * ((6 - kept) * shape.hidden + 4 * shape.attention + 4 * shape.inner)


def _chunk(shape: Shape, rows: int, *, half: bool, gpu: bool) -> float:
    """Bytes of the logits in memory at once (`fusionchat.distill.products`)."""
    if gpu:
        return CHUNK_GPU * (6.0 if half else 4.0)
    row = shape.vocabulary * (2 if half else 4)
    return float(row * min(rows, cpu_rows(row, half=half)))


def _int(value: object, otherwise: int) -> int:
    return value if isinstance(value, int) and value else otherwise
