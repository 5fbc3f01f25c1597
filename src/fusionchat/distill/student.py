# B conversations of a micro-batch, L padded length, N supervised rows, H hidden size
"""`Student`: a causal language model whose forward is the distillation loss.

DDP, FSDP2 and Trainer wrap a module and see only what goes through its forward. So the loss is part of it,
and nothing outside reads the head's weight or calls the body. The head is a module of its own, because FSDP
gathers a module's weights only for that module's forward.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor, nn

from fusionchat.distill.data import StudentBatch
from fusionchat.distill.loss import LossSums, SoftTargets, Tail, soft_cross_entropy
from fusionchat.distill.rounding import on_grid
from fusionchat.models.head import Head, hidden_states, switch_length
from fusionchat.models.logits import HeadShape

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel


class LossHead(nn.Module):
    """A language model's head whose forward is the chunked loss of hidden rows.

    Args:
        linear: The model's own linear map; its weight is the model's parameter, tied to the embeddings where
            the model ties it.
        shape: How the logits are scaled and capped after the linear map.
    """

    def __init__(self, linear: nn.Linear, shape: HeadShape) -> None:
        super().__init__()
        self.linear, self.shape = linear, shape
        self.keeps = False
        self.kept: Tensor | None = None

    def rounded(self, dtype: torch.dtype) -> Float[Tensor, "V H"]:
        """The weight's values in a dtype, without a graph; converted once inside `Student.rounded_once`."""
        weight = self.linear.weight.detach()
        if weight.dtype == dtype:
            return weight
        found = self.kept if self.kept is not None else weight.to(dtype)
        if self.keeps:
            self.kept = found
        return found

    def forward(
        self,
        hidden_NH: Float[Tensor, "N H"],
        targets: SoftTargets,
        *,
        label_weight: float,
        tail: Tail,
        focus: float = 0.0,
    ) -> LossSums:
        """Sums over the rows, in nats; under autocast, products are in its dtype and all sums in fp32."""
        kind = hidden_NH.device.type
        dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else hidden_NH.dtype
        with torch.autocast(kind, enabled=False):
            return soft_cross_entropy(
                hidden_NH.to(dtype),
                self.linear.weight,
                targets,
                rounded_VH=self.rounded(dtype),
                label_weight=label_weight,
                tail=tail,
                focus=focus,
                bias_V=self.linear.bias,
                shape=self.shape,
            )


class Student(nn.Module):
    """A model as body and head that maps a batch to the sums of its losses and the number of its rows.

    The parameters are the model's own, in its order: training a Student trains the model, which is saved as
    usual. Divide ``loss`` once by the supervised tokens of the whole step (``step_rows`` of the batch), over
    all micro-batches and ranks; DDP and FSDP then average gradients over the ranks, so multiply by their
    number::

        student = Student.of(model, label_weight=0.9)
        (student(batch).loss / batch["step_rows"]).backward()

    Args:
        body: Everything below the head.
        head: The head, with its loss.
        config: The model's configuration.
        label_weight: lambda, the weight of the label against the distribution; a schedule may change it.
        tail: How the mass outside the kept tokens is treated.
        focus: The power of 1 - p(label) that weights each row.
    """

    def __init__(
        self,
        body: nn.Module,
        head: LossHead,
        config: "PretrainedConfig",
        *,
        label_weight: float,
        tail: Tail = "bucket",
        focus: float = 0.0,
        masked: bool = False,
    ) -> None:
        super().__init__()
        self.body, self.head, self.config = body, head, config
        self.switch, self.masked = switch_length(config.get_text_config()), masked
        self.label_weight, self.tail, self.focus = label_weight, tail, focus

    @classmethod
    def of(
        cls, model: "PreTrainedModel", *, label_weight: float, tail: Tail = "bucket", focus: float = 0.0
    ) -> "Student":
        """The student that trains a model in place.

        Raises:
            ModelError: Its head is not one that `Head` supports.
        """
        head = Head.of(model)
        return cls(
            head.body,
            LossHead(head.linear, head.shape),
            model.config,
            label_weight=label_weight,
            tail=tail,
            focus=focus,
            masked=not head.looks_back_only,
        )

    def factors(self) -> dict[str, nn.Parameter] | None:
        """The trained parameters by name; None if all are trained."""
        frozen = any(not one.requires_grad for one in self.parameters())
        return {n: p for n, p in self.named_parameters() if p.requires_grad} if frozen else None

    def hidden(self, batch: StudentBatch) -> Float[Tensor, "B L H"]:
        """Last hidden states; those of padding are meaningless.

        Padding is on the right, where the real tokens of a causal body do not see it, so such a body gets no
        mask and attention takes its fastest path.
        """
        return hidden_states(
            self.body, batch["input_ids"], batch["attention_mask"], switch=self.switch, masked=self.masked
        )

    @contextmanager
    def rounded_once(self, seed: int, step: int) -> Iterator[None]:
        """Make the bf16 copies of the weights once for all passes inside, which must not change the weights.

        They are rounded at random (`on_grid`), as seed and step determine. Autocast drops its copies at the
        end of the outermost context, so one is kept open here. Not for FSDP, whose weights exist only during
        a module's forward.
        """
        torch.autocast_increment_nesting()
        self.head.keeps = True
        try:
            with on_grid([p for p in self.parameters() if p.requires_grad], seed=seed, step=step):
                yield
        finally:
            self.head.keeps, self.head.kept = False, None
            if torch.autocast_decrement_nesting() == 0:
                torch.clear_autocast_cache()

    def forward(self, batch: StudentBatch) -> LossSums:
        """Sums over the supervised rows of a batch, in nats; without rows, the loss is 0 with a graph."""
        hidden_BLH = self.hidden(batch)
        targets = SoftTargets(*(batch[name] for name in SoftTargets._fields))  # type: ignore[literal-required]
        hidden_NH = hidden_BLH.flatten(0, 1)[batch["positions"]]
        sums: LossSums = self.head(
            hidden_NH, targets, label_weight=self.label_weight, tail=self.tail, focus=self.focus
        )
        return sums
