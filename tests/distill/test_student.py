"""A model as a module whose forward is the loss: the parameters are the model's own, the sums those of its logits."""

import pytest
import torch
from transformers import Gemma2Config, Gemma2ForCausalLM, PhiConfig, PhiForCausalLM

from fusionchat.distill.loss import SoftTargets, soft_cross_entropy
from fusionchat.distill.rounding import on_grid
from fusionchat.distill.student import LossHead, Student
from fusionchat.errors import ModelError
from fusionchat.models.logits import HeadShape
from tests.distill.ranks import VOCABULARY, batches, make
from tests.distill.test_dropout import MODELS as CHANCE_MODELS
from tests.distill.test_loss import run
from tests.models.test_head import MODELS as HEAD_MODELS
from tests.models.test_head import SMALL
from tests.reference.loss import dense_loss


@pytest.mark.parametrize("tied", [True, False])
def test_its_parameters_are_the_models_own_in_the_models_order(tied):
    """Optimizer, decay and the norm of gradients go by that order."""
    model = make("tied" if tied else "untied", torch.float32)
    student = Student.of(model, label_weight=0.9)
    pairs = zip(student.parameters(), model.parameters(), strict=True)
    assert all(own is theirs for own, theirs in pairs)
    assert (student.head.linear.weight is student.body.wte.weight) == tied


LIKE_PIVOTS = CHANCE_MODELS | HEAD_MODELS
MODELS = {
    "tied": lambda: make("tied", torch.float32),
    "bias": lambda: PhiForCausalLM(PhiConfig(**SMALL)),
    "softcap": lambda: Gemma2ForCausalLM(Gemma2Config(**SMALL, head_dim=8, final_logit_softcapping=2.0)),
}


@pytest.mark.parametrize("focus", [0.0, 1.5])
@pytest.mark.parametrize("tail", ["bucket", "renormalize"])
@pytest.mark.parametrize("name", MODELS)
def test_its_forward_is_the_loss_of_the_models_logits(name, tail, focus):
    torch.manual_seed(1)
    model, (batch, _) = MODELS[name]().eval(), batches()
    if name == "bias":
        torch.nn.init.normal_(model.lm_head.bias)
    sums = Student.of(model, label_weight=0.3, tail=tail, focus=focus)(batch)
    with torch.no_grad():
        logits = model(batch["input_ids"]).logits.flatten(0, 1)[batch["positions"]].double()
    targets = SoftTargets(*(batch[field] for field in SoftTargets._fields))
    one = torch.eye(logits.shape[1], dtype=torch.float64)
    expected = dense_loss(logits, one, targets, label_weight=0.3, tail=tail, shape=HeadShape(), focus=focus)
    label = torch.nn.functional.cross_entropy(logits, batch["labels"], reduction="sum")
    assert sums.rows == len(batch["labels"]) == int(batch["step_rows"])
    assert sums.loss.item() == pytest.approx(float(expected), rel=2e-3)  # the storage rounds to fp16
    assert sums.label.item() == pytest.approx(float(label), rel=1e-5)
    if focus == 0:
        both = 0.3 * sums.label.item() + 0.7 * sums.divergence.item()
        assert both == pytest.approx(sums.loss.item(), rel=1e-5)


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
    """Two passes with copies kept, and made anew; one that outlived a change of the weights would give the old loss."""

    def gradients(keep):
        student = Student.of(make("tied" if tied else "untied", torch.float32).eval(), label_weight=0.5)
        losses = []
        with student.rounded_once(0, 3) if keep else on_grid(list(student.parameters()), seed=0, step=3):
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
    """Inside, changes of the weights of products are not seen: neither of the head's nor of the body's.

    The weights are on the bf16 grid, where rounding changes nothing.
    """
    student = Student.of(make("untied", torch.float32).eval(), label_weight=0.5)
    products = (student.head.linear.weight, student.body.h[0].mlp.c_fc.weight)

    def loss():
        with torch.autocast("cpu", torch.bfloat16):
            return student(batches()[0]).loss.item()

    for weight in student.parameters():
        weight.data.copy_(weight.data.bfloat16())
    with student.rounded_once(0, 0):
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


@pytest.mark.parametrize("name", LIKE_PIVOTS)
def test_padding_on_the_right_needs_no_mask(name):
    """Every real token's state is that of its conversation alone: positions, ALiBi, experts and windows."""
    torch.manual_seed(0)
    student = Student.of(LIKE_PIVOTS[name]().eval(), label_weight=0.5)
    texts = [torch.tensor([[3, 4, 5, 6, 7, 8, 9]]), torch.tensor([[8, 3, 5]])]
    tokens, mask = torch.full((2, 2, 7), 1).unbind()
    mask[1, 3:] = 0
    tokens[0], tokens[1, :3] = texts[0], texts[1]
    with torch.no_grad():
        together = student.hidden({"input_ids": tokens, "attention_mask": mask})
        for states, text in zip(together, texts, strict=True):
            alone = student.body(input_ids=text, attention_mask=torch.ones_like(text)).last_hidden_state[0]
            torch.testing.assert_close(states[: len(alone)], alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("tied", [True, False])
def test_a_batch_without_rows_has_a_loss_of_0_and_gradients_of_0(tied):
    student = Student.of(make("tied" if tied else "untied", torch.float32), label_weight=0.9)
    sums = student(batches()[1])
    sums.loss.backward()
    assert sums.loss.item() == 0 and sums.rows == 0
    assert all(float(p.grad.abs().max()) == 0 for p in student.parameters())


def test_a_float64_loss_is_exact():
    """Two rows against autograd in float64: the steps of the loss are float64, too."""
    g = torch.Generator().manual_seed(0)
    hidden, head = (torch.randn(n, 5, generator=g, dtype=torch.float64) for n in (2, 11))
    logprobs, ids = torch.randn(2, 11, generator=g, dtype=torch.float64).log_softmax(-1).topk(3)
    targets = SoftTargets(
        ids,
        logprobs,
        torch.log1p(-logprobs.exp().sum(1)),
        torch.tensor([4, 0]),
        torch.ones(2, dtype=torch.bool),
    )
    ours = run(soft_cross_entropy, hidden, head, targets, label_weight=0.9)
    dense = run(dense_loss, hidden, head, targets, label_weight=0.9, tail="bucket", shape=HeadShape())
    for mine, reference in zip(ours[:3], dense[:3], strict=True):
        torch.testing.assert_close(mine, reference, rtol=1e-12, atol=1e-12)


def test_a_head_that_is_not_linear_is_refused_by_name():
    model = make("untied", torch.float32)
    model.lm_head = torch.nn.Sequential(model.lm_head)
    with pytest.raises(ModelError, match="GPT2LMHeadModel"):
        Student.of(model, label_weight=0.9)


def test_a_loop_of_ones_own_is_a_few_lines():
    """From the package's public names; the model itself is what was trained."""
    import fusionchat

    model, batch = make("tied", torch.float32), batches()[0]
    student = fusionchat.Student.of(model, label_weight=0.9)
    optimizer = torch.optim.AdamW(student.parameters(), lr=1e-2)
    losses = []
    for _ in range(5):
        loss = student(batch).loss / batch["step_rows"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] - 0.1
    again = fusionchat.Student.of(model, label_weight=0.9)(batch).loss / batch["step_rows"]
    assert again.item() < losses[-1] and fusionchat.soft_cross_entropy is soft_cross_entropy
