# B prompts of a batch, V vocabulary
"""Greedy continuations of prompts, each independent of the others in its batch."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from fusionchat.errors import ModelError
from fusionchat.models.head import switch_length
from fusionchat.models.offloaded import input_device
from fusionchat.represent.batching import length_batches

if TYPE_CHECKING:
    from transformers import GenerationConfig, PreTrainedModel

PROBE = 4
"""Number of tokens in a test of a model."""
Watch = Callable[[Tensor, Tensor], Tensor]
"""A logits processor: maps the ids so far and the next token's logits to the logits that are used."""


def generate(
    model: "PreTrainedModel",
    prompts: Sequence[Sequence[int]],
    *,
    stop_ids: Sequence[int],
    max_new_tokens: int,
    batch_tokens: int,
    names: Sequence[str],
    progress: Callable[[int], None],
    choose: "Callable[[Sequence[int]], Watch] | None" = None,
) -> list[list[int]]:
    """Greedy continuations in the order of the prompts, without the stop token that ended them.

    ``choose`` makes a logits processor for a batch of prompts, given their indices: greedy decoding chooses
    the token whose logit it makes the largest.

    An answer depends only on its own prompt, never on others in its batch: its limit is ``max_new_tokens``,
    or what its own prompt leaves of the model's context; a prompt that fills the context gets an empty
    answer. The prompts of a batch have the same limit, so that none is generated past the context, and
    similar lengths; they are padded on the left (positions count from each prompt's first token). If padding
    would change answers, every prompt is a batch of its own.

    Raises:
        ModelError: The model gives NaN or infinite logits; the message says for which of the ``names``.
    """
    answers: list[list[int]] = [[] for _ in prompts]
    window, switch = context_window(model), switch_length(model.config.get_text_config())
    batch_tokens = batch_tokens if ignores_padding(model) else 1
    groups: dict[Alike, list[int]] = {}
    for i, prompt in enumerate(prompts):
        groups.setdefault(alike(len(prompt), window, switch, max_new_tokens), []).append(i)
    for (room, _), own in sorted(groups.items(), reverse=True):
        for group in length_batches([len(prompts[i]) + room for i in own], batch_tokens):
            members = [own[i] for i in group]
            if room > 0:
                watches = [require_finite_logits([names[i] for i in members])]
                watches += [] if choose is None else [choose(members)]
                batch = continue_batch(model, [prompts[i] for i in members], stop_ids, room, watches)
                for i, ids in zip(members, batch, strict=True):
                    answers[i] = ids
            progress(len(members))
    return answers


Alike = tuple[int, int]


def alike(length: int, window: int | None, switch: int | None, max_new_tokens: int) -> Alike:
    """What a batch's prompts must share: the answers' limit, and where the model changes frequencies.

    The latter is 0 for never, -1 for before the answer, and the prompt's length for within it (see
    `switch_length`).
    """
    room = answer_room(window, length, max_new_tokens)
    if switch is None or length + room <= switch:
        return room, 0
    return room, length if length <= switch else -1


@torch.inference_mode()
def ignores_padding(model: "PreTrainedModel") -> bool:
    """Whether padding on the left leaves a model's logits unchanged, tested on a few tokens.

    It does for attention with a mask; some recurrent structures (RWKV, RecurrentGemma) process padding in
    their state. A context that is too short for the test counts as no.
    """
    if (context_window(model) or 2 * PROBE + 1) <= 2 * PROBE:
        return False
    short, pads = torch.arange(1, 1 + PROBE), torch.zeros(PROBE, dtype=torch.long)
    size = int(model.get_input_embeddings().weight.shape[0])  # type: ignore[operator, union-attr, arg-type, index]
    ids = torch.stack([torch.cat([pads, short]), torch.arange(2 * PROBE) + 1]).to(input_device(model)) % size
    mask = torch.ones_like(ids)
    mask[0, :PROBE] = 0
    settings = greedy_settings((), 1)
    settings.output_logits, settings.return_dict_in_generate = True, True
    padded, alone = (
        model.generate(input_ids=i, attention_mask=m, generation_config=settings).logits[0][0].float()  # type: ignore[operator]
        for i, m in ((ids, mask), (ids[:1, PROBE:], mask[:1, PROBE:]))
    )
    tolerance = 1e-3 if model.dtype == torch.float32 else 5e-2
    return torch.allclose(
        padded, alone, rtol=tolerance, atol=tolerance * float(alone.abs().max().clamp(min=1e-6))
    )


def answer_room(window: int | None, prompt: int, max_new_tokens: int) -> int:
    """The most tokens of an answer after a prompt of ``prompt`` tokens; 0 if the prompt fills the window."""
    return max_new_tokens if window is None else max(0, min(max_new_tokens, window - prompt))


def context_window(model: "PreTrainedModel") -> int | None:
    """The most positions that a model's configuration allows; None if it states no limit."""
    value = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    return value if isinstance(value, int) and value > 0 else None


def require_finite_logits(names: Sequence[str]) -> Watch:
    """A logits processor that only checks that the next token has a finite largest logit.

    The greedy choice among NaN or +inf is a token like any other, so a broken model's answers would only
    count as wrong.
    """

    def watch(_ids: Tensor, scores_BV: Tensor) -> Tensor:
        bad_B = ~torch.isfinite(scores_BV.amax(dim=1))
        if bool(bad_B.any()):
            raise ModelError(
                "The model gives NaN or infinite logits while it answers",
                where=f"conversation {names[int(bad_B.int().argmax())]}",
                do="look for NaN in its weights, or set `dtype` (of represent or evaluate) to bfloat16 or float32",
            )
        return scores_BV

    return watch


@torch.inference_mode()
def continue_batch(
    model: "PreTrainedModel",
    prompts: Sequence[Sequence[int]],
    stop_ids: Sequence[int],
    max_new_tokens: int,
    watches: Sequence[Watch],
) -> list[list[int]]:
    """Greedy continuations of one batch, each cut before its first stop token.

    ``watches`` process all logits in turn.
    """
    from transformers import LogitsProcessorList

    length = max(map(len, prompts))
    padding = stop_ids[0] if stop_ids else 0  # masked, so the id does not matter
    ids = torch.tensor([[padding] * (length - len(p)) + list(p) for p in prompts], device=input_device(model))
    mask = torch.tensor([[0] * (length - len(p)) + [1] * len(p) for p in prompts], device=input_device(model))
    out = model.generate(  # type: ignore[operator]
        input_ids=ids,
        attention_mask=mask,
        generation_config=greedy_settings(stop_ids, max_new_tokens),
        logits_processor=LogitsProcessorList(watches),  # type: ignore[arg-type]
    )
    return [until_stop(row, set(stop_ids)) for row in out[:, length:].tolist()]


def greedy_settings(stop_ids: Sequence[int], max_new_tokens: int) -> "GenerationConfig":
    """The settings of greedy decoding, with everything set that would change it.

    Otherwise values would come from the model's folder.
    """
    from transformers import GenerationConfig

    return GenerationConfig(  # type: ignore[no-untyped-call]
        do_sample=False,
        num_beams=1,
        temperature=1.0,
        top_p=1.0,
        top_k=50,
        repetition_penalty=1.0,
        no_repeat_ngram_size=0,
        min_new_tokens=0,
        max_new_tokens=max_new_tokens,
        eos_token_id=list(stop_ids) or None,
        pad_token_id=stop_ids[0] if stop_ids else 0,
    )


def until_stop(ids: Sequence[int], stop_ids: set[int]) -> list[int]:
    """The ids before the first stop token."""
    return list(ids[: next((i for i, token in enumerate(ids) if token in stop_ids), len(ids))])
