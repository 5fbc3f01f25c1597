"""A model as a module whose forward is the loss: the parameters are the model's own, the sums those of its logits."""

from contextlib import nullcontext

import pytest
import torch
from transformers import Gemma2Config, Gemma2ForCausalLM, PhiConfig, PhiForCausalLM

from fusionchat.distill.loss import SoftTargets
from fusionchat.distill.student import LossHead, Student
from fusionchat.models.logits import HeadShape
from tests.distill.ranks import VOCABULARY, batches, make
from tests.models.test_head import SMALL
from tests.reference.loss import dense_loss


@pytest.mark.parametrize("tied", [True, False])
def test_its_parameters_are_the_models_own_in_the_models_order(tied):
    """Optimizer, decay and the norm of gradients go by that order."""
    model = make(tied, torch.float32)
    student = Student.of(model, label_weight=0.9)
    pairs = zip(student.parameters(), model.parameters(), strict=True)
    assert all(own is theirs for own, theirs in pairs)
    assert (student.head.linear.weight is student.body.wte.weight) == tied


MODELS = {
    "tied": lambda: make(True, torch.float32),
    "bias": lambda: PhiForCausalLM(PhiConfig(**SMALL)),
    "softcap": lambda: Gemma2ForCausalLM(Gemma2Config(**SMALL, head_dim=8, final_logit_softcapping=2.0)),
}


@pytest.mark.parametrize("tail", ["bucket", "renormalize"])
@pytest.mark.parametrize("name", MODELS)
def test_its_forward_is_the_loss_of_the_models_logits(name, tail):
    torch.manual_seed(1)
    model, (batch, _) = MODELS[name]().eval(), batches()
    if name == "bias":
        torch.nn.init.normal_(model.lm_head.bias)
    sums = Student.of(model, label_weight=0.3, tail=tail)(batch)
    with torch.no_grad():
        logits = model(batch["input_ids"]).logits.flatten(0, 1)[batch["positions"]].double()
    targets = SoftTargets(*(batch[field] for field in SoftTargets._fields))
    one = torch.eye(logits.shape[1], dtype=torch.float64)
    expected = dense_loss(logits, one, targets, label_weight=0.3, tail=tail, shape=HeadShape())
    label = torch.nn.functional.cross_entropy(logits, batch["labels"], reduction="sum")
    assert sums.rows == len(batch["labels"]) == int(batch["step_rows"])
    assert sums.loss.item() == pytest.approx(float(expected), rel=2e-3)  # the storage rounds to fp16
    assert sums.label.item() == pytest.approx(float(label), rel=1e-5)
    assert 0.3 * sums.label.item() + 0.7 * sums.divergence.item() == pytest.approx(sums.loss.item(), rel=1e-5)


def test_autocast_does_not_round_the_logits():
    torch.manual_seed(0)
    linear = torch.nn.Linear(16, VOCABULARY, bias=False)
    hidden, (batch, _) = torch.randn(3, 16) * 20, batches()
    targets = SoftTargets(*(batch[field][:3] for field in SoftTargets._fields))
    head = LossHead(linear, HeadShape())
    logits = hidden.bfloat16().double() @ linear.weight.bfloat16().double().T
    exact = torch.nn.functional.cross_entropy(logits, targets.labels, reduction="sum")
    with torch.autocast("cpu", torch.bfloat16):
        assert linear(hidden).dtype == torch.bfloat16
        sums = head(hidden, targets, label_weight=1.0, tail="bucket")
    assert sums.loss.dtype == torch.float32
    assert sums.loss.item() == pytest.approx(exact.item(), rel=1e-5)


@pytest.mark.parametrize("tied", [True, False])
def test_half_precision_copies_are_made_once_and_change_no_bit(tied):
    """Two passes with copies kept, and apart; a copy that outlived a change of the weights would give the old loss."""

    def gradients(keep):
        student = Student.of(make(tied, torch.float32).eval(), label_weight=0.5)
        losses = []
        with student.rounded_once() if keep else nullcontext():
            for batch in batches()[:1] * 2:
                with torch.autocast("cpu", torch.bfloat16):
                    loss = student(batch).loss
                loss.backward()
                losses.append(loss.item())
        assert student.head.kept is None
        with torch.no_grad():
            for parameter in student.parameters():
                parameter.mul_(1.5)
        with torch.autocast("cpu", torch.bfloat16):
            losses.append(student(batches()[0]).loss.item())
        return losses, [parameter.grad for parameter in student.parameters()]

    (kept, mine), (apart, theirs) = gradients(True), gradients(False)
    assert kept == apart and kept[0] == kept[1] != kept[2]
    assert all(torch.equal(a, b) for a, b in zip(mine, theirs, strict=True))


def test_copies_are_kept_inside_only():
    """Inside, changes of the weights of products are not seen: neither of the head's nor of the body's."""
    student = Student.of(make(False, torch.float32).eval(), label_weight=0.5)
    products = (student.head.linear.weight, student.body.h[0].mlp.c_fc.weight)

    def loss():
        with torch.autocast("cpu", torch.bfloat16):
            return student(batches()[0]).loss.item()

    with student.rounded_once():
        first = loss()
        for weight in products:
            weight.detach().mul_(2.0)
            assert loss() == first
    assert loss() != first
    products[0].detach().div_(2.0)
    assert loss() != first
    products[1].detach().div_(2.0)
    assert loss() == first
    assert student.head.rounded(torch.float32).data_ptr() == student.head.linear.weight.data_ptr()
