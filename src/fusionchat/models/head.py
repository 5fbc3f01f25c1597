# B batch, L length, H hidden size, N rows, V vocabulary
"""`Head`: the map from hidden states to logits, applied only to the rows that are needed.

Some structures change the logits after the linear map: Gemma 2 and 3 cap them softly, Cohere scales them,
Granite divides them. `Head.of` reads that from the configuration, compares its logits with the model's own on
a few tokens, and refuses a structure that it cannot reproduce, by name.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from fusionchat.errors import ModelError
from fusionchat.models.adapter import trained_module
from fusionchat.models.logits import HeadShape, Tile, operand, product, tiles, wide
from fusionchat.models.offloaded import device_of, hook_of, input_device, lent
from fusionchat.models.onednn import LinearMaps, is_faster
from fusionchat.models.precision import SMALL

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel

CHECK_TOKENS = 5


def switch_length(config: "PreTrainedConfig") -> int | None:
    """The length past which a model uses other rotary frequencies (``longrope``); None if it never does.

    transformers looks at the longest member of a batch and uses its frequencies for all, so a conversation's
    result would depend on the others in its batch.
    """
    rope = getattr(config, "rope_parameters", None) or {}
    kinds = [rope, *(value for value in rope.values() if isinstance(value, dict))]
    lengths = [
        int(kind["original_max_position_embeddings"])
        for kind in kinds
        if kind.get("rope_type") == "longrope" and kind.get("original_max_position_embeddings")
    ]
    return min(lengths, default=None)


def hidden_states(
    body: nn.Module,
    tokens_BL: Int[Tensor, "B L"],
    mask_BL: Int[Tensor, "B L"],
    *,
    switch: int | None,
    masked: bool = True,
) -> Float[Tensor, "B L H"]:
    """Last hidden states of right-padded token ids (mask 1 = a real token); each row as if it were alone.

    Args:
        body: Everything below a model's head.
        tokens_BL: Token ids.
        mask_BL: Which of them are real.
        switch: The body's `switch_length`; shorter and longer rows go through the body separately.
        masked: Whether the body gets the mask. It needs none if a token's state does not depend on
            later ones, because padding comes after all real tokens. Attention without a mask has faster
            kernels.
    """
    if switch is None or tokens_BL.shape[1] <= switch:
        return _last(body, tokens_BL, mask_BL if masked else None)
    lengths_B = mask_BL.sum(1)
    long_B = lengths_B > switch
    if bool(long_B.all()) or not bool(long_B.any()):
        return _last(body, tokens_BL, mask_BL if masked else None)
    parts = [(part, int(lengths_B[part].max())) for part in (long_B, ~long_B)]
    states = [
        _last(body, tokens_BL[part, :length], mask_BL[part, :length] if masked else None)
        for part, length in parts
    ]
    hidden = states[0].new_zeros((*tokens_BL.shape, states[0].shape[-1]))
    for (part, length), state in zip(parts, states, strict=True):
        hidden[part, :length] = state
    return hidden


def _last(
    body: nn.Module, tokens_BL: Int[Tensor, "B L"], mask_BL: Int[Tensor, "B L"] | None
) -> Float[Tensor, "B L H"]:
    return body(input_ids=tokens_BL, attention_mask=mask_BL, use_cache=False).last_hidden_state


@dataclass(frozen=True)
class Head:
    """A causal language model split into its body and its head.

    Attributes:
        model: The whole model.
        body: Everything below the head.
        linear: The model's own linear map; its weight may be tied to the embeddings.
        shape: How the logits are scaled and capped after the linear map.
    """

    model: "PreTrainedModel"
    body: nn.Module
    linear: nn.Linear
    shape: HeadShape

    @property
    def weight(self) -> Float[Tensor, "V H"]:
        """The weight, a parameter of the model."""
        return self.linear.weight

    @property
    def bias(self) -> Float[Tensor, " V"] | None:
        """The bias, if there is one."""
        return self.linear.bias

    @classmethod
    def of(cls, model: "PreTrainedModel") -> "Head":
        """A model, split; raises ModelError if this class cannot reproduce its head."""
        config = model.config.get_text_config()
        linear = trained_module(model.get_output_embeddings())
        body = model.base_model
        kind = type(model).__name__
        if not isinstance(linear, nn.Linear) or body is model:
            raise ModelError(f"{kind} has no plain linear head", do="use a causal language model with one")
        scale = getattr(config, "logit_scale", None)
        divisor = getattr(config, "logits_scaling", None)
        shape = HeadShape(
            scale=float(scale) if scale else 1.0 / float(divisor) if divisor else 1.0,
            softcap=float(getattr(config, "final_logit_softcapping", None) or 0.0),
        )
        head = cls(model, body, linear, shape)
        head._check(kind)
        return head

    def _check(self, kind: str) -> None:
        training = self.model.training
        self.model.eval()
        tokens = torch.arange(CHECK_TOKENS, device=self.device)[None] % self.weight.shape[0]
        with torch.no_grad():
            own = self.model(input_ids=tokens, use_cache=False).logits[0]
            hidden = self.hidden(tokens, torch.ones_like(tokens))[0]
            ours = torch.empty_like(own, dtype=wide(own.dtype), device=hidden.device)
            for row, token, part in self.tiles(hidden):
                ours[row : row + len(part), token : token + part.shape[1]] = part
        own, ours = own.to(ours.dtype).cpu(), ours.cpu()
        self.model.train(training)
        tolerance = 1e-3 if self.weight.dtype == ours.dtype else 5e-2
        if not torch.allclose(own, ours, rtol=tolerance, atol=tolerance * max(1.0, float(own.abs().max()))):
            raise ModelError(
                f"The logits of {kind} are not its head applied to its hidden states",
                do="FusionChat does not know what this structure does to its logits; please report it",
            )

    def hidden(self, tokens_BL: Int[Tensor, "B L"], mask_BL: Int[Tensor, "B L"]) -> Float[Tensor, "B L H"]:
        """See `hidden_states`; they are on the head's device, which may differ from the body's input."""
        return self._states(tokens_BL, mask_BL, masked=True)

    @cached_property
    def device(self) -> torch.device:
        """The device of token ids."""
        return input_device(self.model)

    def states(self, tokens_BL: Int[Tensor, "B L"], mask_BL: Int[Tensor, "B L"]) -> Float[Tensor, "B L H"]:
        """As `hidden`, but faster: without the mask where none is needed.

        Both are equal up to the order of sums.
        """
        return self._states(tokens_BL, mask_BL, masked=not self.looks_back_only)

    def _states(
        self, tokens_BL: Int[Tensor, "B L"], mask_BL: Int[Tensor, "B L"], *, masked: bool
    ) -> Float[Tensor, "B L H"]:
        with self._maps():
            states_BLH = hidden_states(self.body, tokens_BL, mask_BL, switch=self.switch, masked=masked)
        return states_BLH.to(device_of(self.linear))

    @cached_property
    def looks_back_only(self) -> bool:
        """Whether a token's state is independent of what comes after it, tried on a few tokens."""
        tokens = torch.arange(CHECK_TOKENS, device=self.device)[None] % self.weight.shape[0]
        other = tokens.clone()
        other[0, -1] = 0
        with torch.no_grad():
            a, b = (_last(self.body, one, None)[0, :-1].float() for one in (tokens, other))
        return torch.allclose(a, b, rtol=1e-3, atol=1e-3 * max(1.0, float(a.abs().max())))

    @cached_property
    def by_onednn(self) -> bool:
        """Whether oneDNN makes float32 products: if it is faster, and the model is not `SMALL`."""
        return is_faster() and sum(p.numel() for p in self.model.parameters()) >= SMALL

    def _maps(self) -> AbstractContextManager[object]:
        return LinearMaps() if self.by_onednn else nullcontext()

    @cached_property
    def switch(self) -> int | None:
        """See `switch_length`."""
        return switch_length(self.model.config.get_text_config())

    def logits(self, hidden_NH: Float[Tensor, "N H"]) -> Float[Tensor, "N V"]:
        """fp32 logits of hidden states: product, bias, scale and soft cap are fp32 for weights of any dtype."""
        if hook_of(self.linear) is None:
            with self._maps():
                logits = product(hidden_NH, self._operand)
            return self.shape.apply(logits if self.bias is None else logits + self.bias.to(logits.dtype))
        with lent(self.linear) as (weight_VH, bias_V):
            logits = product(hidden_NH, operand(weight_VH, weight_VH.dtype))
            return self.shape.apply(logits if bias_V is None else logits + bias_V.to(logits.dtype))

    def tiles(self, hidden_NH: Float[Tensor, "N H"]) -> Iterator[Tile]:
        """`logits` a part at a time, if none is needed twice; see `fusionchat.models.logits.tiles`."""
        with lent(self.linear) as (weight_VH, bias_V):
            yield from tiles(hidden_NH, weight_VH, bias_V, self.shape, self.by_onednn)

    @cached_property
    def _operand(self) -> Float[Tensor, "V H"]:
        """The weight as the product takes it, copied only in half precision on a CPU, which is never trained."""
        return operand(self.weight, self.weight.dtype)
