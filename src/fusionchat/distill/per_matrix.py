"""Any optimizer on bf16 matrices: it steps on one weight at a time, held in fp32 during the step."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from transformers import Trainer, TrainingArguments
from transformers.training_args import OptimizerNames

from fusionchat.distill.bf16_weights import NarrowModel
from fusionchat.errors import RecipeError
from fusionchat.settings import no_such

WHERE = "distill.optim"
WHOLE_MODEL = {"params", "model", "optimizer_dict"}
"""Options of optimizers that split a whole model into groups themselves."""


class Kind(NamedTuple):
    """A class of optimizers and the options of all of its groups."""

    make: Callable[..., Optimizer]
    options: dict[str, Any]


def kind_of(optim: str, model: nn.Module | None = None, arguments: TrainingArguments | None = None) -> Kind:
    """The optimizer class and options that Trainer uses for a name.

    Raises:
        RecipeError: There is no such optimizer, or its package is missing.
    """
    known = [name.value for name in OptimizerNames]
    if optim not in known:
        raise RecipeError(no_such("optimizer", optim, known), where=WHERE)
    try:
        found = arguments or TrainingArguments(output_dir="", optim=optim, use_cpu=True, report_to="none")
        return Kind(*Trainer.get_optimizer_cls_and_kwargs(found, model))  # type: ignore[arg-type]
    except (ImportError, ValueError) as error:
        raise RecipeError(
            f"The optimizer {optim} is not available: {error}",
            where=WHERE,
            do="install its package (bitsandbytes: pip install 'fusionchat[quant]'; torchao: pip install 'fusionchat[torchao]'), "
            "or use another",
        ) from error


def require_optimizer(optim: str, *, narrow: bool) -> None:
    """Raise RecipeError if a training cannot use this optimizer; ``narrow``: with bf16 weights."""
    kind = kind_of(optim)
    if narrow and WHOLE_MODEL & kind.options.keys():
        raise RecipeError(
            f"The optimizer {optim} handles the whole model itself, and cannot update bf16 weights",
            where=WHERE,
            do="use another one, or precision: bf16",
        )


class Group(NamedTuple):
    """A parameter that is trained, and its weight decay."""

    parameter: nn.Parameter
    weight_decay: float


class OneByOne(Optimizer):
    """An optimizer of its own for every parameter, which steps on an fp32 stand-in.

    So no optimizer needs to support bf16.

    Beside weights, gradients and the optimizers' state it needs the memory of the largest matrix, twice in
    fp32.

    Args:
        groups: What is trained.
        make: Makes an optimizer of one group (torch's format) for a parameter of the model.
        model: Has the matrices in bf16.
    """

    def __init__(
        self,
        groups: Sequence[Group],
        make: Callable[[nn.Parameter, dict[str, Any]], Optimizer],
        model: NarrowModel,
    ) -> None:
        self.model, self.steps = model, 0
        self.parameters = [group.parameter for group in groups]
        self.own: list[Optimizer] = []
        for parameter, decay in groups:
            stand_in = (
                nn.Parameter(parameter.new_empty(0, dtype=torch.float32))
                if parameter in model.parts
                else parameter
            )
            self.own.append(make(parameter, {"params": [stand_in], "weight_decay": decay}))
        super().__init__([{"params": self.parameters}], {})
        # The schedule sets the rate of each group, so these are the optimizers' own groups.
        self.param_groups = [group for one in self.own for group in one.param_groups]

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the parameters' gradients."""
        for parameter in self.parameters:
            parameter.grad = None

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Step on every parameter that has a gradient, and free the gradient."""
        self.steps += 1
        for number, (parameter, optimizer) in enumerate(zip(self.parameters, self.own, strict=True)):
            if parameter.grad is None:
                continue
            narrow = self.model.parts.get(parameter)
            if narrow is None:
                optimizer.step()
                continue
            (stand_in,) = optimizer.param_groups[0]["params"]
            stand_in.data, stand_in.grad = narrow.wide(), None
            stand_in.grad, parameter.grad = parameter.grad.float(), None
            optimizer.step()
            stand_in.grad = None
            self.model.take(number, narrow, stand_in.data, self.steps)
            stand_in.data = stand_in.data.new_empty(0)

    def state_dict(self) -> dict[str, Any]:
        """The optimizers' states, compensations and the number of steps."""
        return {
            "own": [one.state_dict() for one in self.own],
            "rest": [self._rest(parameter) for parameter in self.parameters],
            "steps": self.steps,
            "lost": self.model.lost,
        }

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:  # type: ignore[override]
        """Restore what `state_dict` returned."""
        for one, held in zip(self.own, state_dict["own"], strict=True):
            one.load_state_dict(held)
        for parameter, held in zip(self.parameters, state_dict["rest"], strict=True):
            rest = self._rest(parameter)
            if rest is not None:
                rest.copy_(held)
        self.steps, self.model.lost = state_dict["steps"], state_dict["lost"]
        self.param_groups = [group for one in self.own for group in one.param_groups]

    def _rest(self, parameter: nn.Parameter) -> Tensor | None:
        narrow = self.model.parts.get(parameter)
        return None if narrow is None else narrow.rest


def one_by_one(trainer: Trainer, student: nn.Module, model: NarrowModel) -> OneByOne:
    """The optimizer that a Trainer's arguments name, on bf16 weights.

    Embeddings have 32-bit state, as with Trainer.

    bitsandbytes stores such exceptions by a parameter's place among the groups, for all optimizers of the
    process, so those of an earlier training are removed.
    """
    kind = kind_of(trainer.args.optim, student, trainer.args)
    eight_bit = kind.options.get("optim_bits") == 8
    if eight_bit:
        from bitsandbytes.optim import GlobalOptimManager

        GlobalOptimManager.get_instance().initialize()
    exact = {
        p for m in student.modules() if eight_bit and isinstance(m, nn.Embedding) for p in m.parameters()
    }

    def make(parameter: nn.Parameter, group: dict[str, Any]) -> Optimizer:
        return kind.make([group], **kind.options | ({"optim_bits": 32} if parameter in exact else {}))

    decayed = set(trainer.get_decay_parameter_names(student))
    groups = [
        Group(p, trainer.args.weight_decay if name in decayed else 0.0)
        for name, p in student.named_parameters()
        if p.requires_grad
    ]
    return OneByOne(groups, make, model)
