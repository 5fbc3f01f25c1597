# N supervised rows, C candidates of a row, L tokens of a conversation, V vocabulary
"""Conversations scored by plain transformers, as a reference for a capture (`probe`).

No batches, no padding, no head of ours, no selection: ``model(input_ids).logits``, log-softmax in float32,
``topk``.
"""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from fusionchat import machine_memory
from fusionchat.corpus.rendered_part import RenderedPart
from fusionchat.errors import FusionChatError
from fusionchat.hub import cached_folder
from fusionchat.models.device import pick_device
from fusionchat.models.load import load_model
from fusionchat.models.ref import ModelRef
from fusionchat.represent.out_of_memory import is_out_of_memory

WEIGHTS = ("*.safetensors", "*.bin", "*.gguf")
ROOM = 2e9
"""Bytes needed beside the weights: a conversation's logits, and activations."""


class Plain(NamedTuple):
    """The log-probabilities of the supervised tokens according to transformers.

    Attributes:
        label_logprob: float32 [N], of the tokens themselves.
        ids: int32 [N, C], the most likely tokens, most likely first.
        logprobs: float32 [N, C].
    """

    label_logprob: NDArray[np.float32]
    ids: NDArray[np.int32]
    logprobs: NDArray[np.float32]


def why_not(ref: ModelRef, *, parameters: int | None, downloads: bool) -> str:
    """Why transformers cannot score a model on this machine; "" if it can.

    Args:
        ref: The model.
        parameters: Elements of its tensors; None for unknown.
        downloads: Whether a model of the hub may be downloaded: its weights are read here anyway.
    """
    folder = cached_folder(ref.place)
    here = ref.place.path is not None and ref.place.path.is_file()
    here |= folder is not None and any(next(folder.glob(pattern), None) for pattern in WEIGHTS)
    if not here and not (downloads and ref.place.path is None):
        return "its weights are not on this machine"
    if parameters is not None and 4.0 * parameters + ROOM > machine_memory.available():
        return "it does not fit into this machine's memory in float32"
    return ""


def score_plainly(
    ref: ModelRef, rendered: RenderedPart, *, candidates: int, vocabulary: int, device: str
) -> Plain | str:
    """The supervised tokens' float32 log-probabilities, or why transformers cannot compute them.

    The model runs on the device if it fits there, else on the CPU.

    Args:
        ref: The model.
        rendered: Some conversations in its template and tokens.
        candidates: C, cut to the vocabulary's size.
        vocabulary: Tokens of the tokenizer; rows of the head past them are no candidates.
        device: As `runtime.device` of a recipe.
    """
    wanted, reason = pick_device(device), ""
    for where in dict.fromkeys((wanted, torch.device("cpu"))):
        try:
            model = load_model(ref, dtype=torch.float32, device=where)
            return _score(model, rendered, candidates=candidates, vocabulary=vocabulary)
        except (FusionChatError, MemoryError, RuntimeError) as error:
            # A model that fails to load raises an error of ours, whose cause tells whether memory ran out.
            cause = error.__cause__ if isinstance(error, FusionChatError) else error
            if isinstance(cause, Exception) and is_out_of_memory(cause):
                reason = f"it does not fit into the memory of {where} in float32"
            elif isinstance(error, FusionChatError):
                return f"transformers does not open it: {error.what}"
            else:
                raise
    return reason


@torch.inference_mode()
def _score(model: torch.nn.Module, rendered: RenderedPart, *, candidates: int, vocabulary: int) -> Plain:
    device = next(model.parameters()).device
    labels, ids, logprobs = [], [], []
    for one in rendered:
        tokens_1L = torch.from_numpy(one.input_ids.astype(np.int64)).to(device)[None]
        logprobs_LV = model(input_ids=tokens_1L, use_cache=False).logits[0].float().log_softmax(-1)
        rows_N = torch.from_numpy(one.rows.astype(np.int64)).to(device)
        own_NV = logprobs_LV[rows_N - 1]
        labels.append(own_NV.gather(1, tokens_1L[0, rows_N][:, None])[:, 0].cpu().numpy())
        top = own_NV[:, :vocabulary].topk(min(candidates, vocabulary, own_NV.shape[1]), dim=1)
        ids.append(top.indices.cpu().numpy().astype(np.int32))
        logprobs.append(top.values.cpu().numpy())
    return Plain(np.concatenate(labels), np.concatenate(ids), np.concatenate(logprobs))
