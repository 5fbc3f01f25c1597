"""Training on Trainer: our loss is the model's own, micro-batches do not change the result, precisions work."""

from contextlib import contextmanager

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    MixtralConfig,
    MixtralForCausalLM,
)

from fusionchat.corpus.render import Rendered
from fusionchat.distill import trainer
from fusionchat.distill.checkpoints import last_checkpoint
from fusionchat.distill.lora import with_factors
from fusionchat.distill.settings import DistillSettings
from fusionchat.distill.trainable import LoraSettings
from fusionchat.distill.trainer import DistillTrainer, train
from fusionchat.models.ref import ModelRef
from tests.build import by_conversation, make_scored

VOCABULARY = 29
PASSES = {"micro_batch_tokens": 48, "gradient_checkpointing": False, "checkpoint_steps": 200}


def student():
    torch.manual_seed(0)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=VOCABULARY,
            hidden_size=16,
            intermediate_size=24,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=1,
        )
    )


def corpus(count=10):
    rng = np.random.default_rng(1)
    made = []
    for _ in range(count):
        length = int(rng.integers(4, 12))
        rows = np.arange(2, length, dtype=np.int32)
        zero = np.zeros(len(rows), np.int32)
        made.append(Rendered(rng.integers(0, VOCABULARY, length).astype(np.int32), rows, zero, zero, zero))
    return made


@contextmanager
def silent(_steps, _done):
    yield lambda _count: None


def dropping():
    """GPT-2 as published drops a tenth of everything in training."""
    torch.manual_seed(0)
    return GPT2LMHeadModel(GPT2Config(vocab_size=VOCABULARY, n_embd=16, n_layer=2, n_head=2))


def run(tmp_path, soft=True, *, make=student, label_weight=0.5, settings=None, progress=silent, **runtime):
    rendered = corpus()
    scored = make_scored(3, [len(r.rows) for r in rendered], vocabulary=VOCABULARY)
    model = make()
    settings = {"epochs": 2, "batch_size": 4, "learning_rate": 1e-2, "precision": "fp32"} | (settings or {})
    trained = train(
        model,
        rendered,
        by_conversation(scored) if soft else None,
        label_weight=label_weight,
        settings=DistillSettings(**settings),
        **(PASSES | runtime),
        seed=0,
        folder=tmp_path,
        device=torch.device("cpu"),
        progress=progress,
    )
    return model, trained


def run_until(tmp_path, last, monkeypatch, **how):
    """A training that stops while it makes its step number ``last``."""
    step, calls = DistillTrainer.training_step, []

    def stop(self, *args, **kwargs):
        calls.append(1)
        if len(calls) == last:
            raise InterruptedError
        return step(self, *args, **kwargs)

    with monkeypatch.context() as patched, pytest.raises(InterruptedError):
        patched.setattr(DistillTrainer, "training_step", stop)
        run(tmp_path, **how)


def weights(model):
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def test_fine_tuning_lowers_the_models_own_loss(tmp_path):
    rendered, before = corpus(), student()
    after, trained = run(tmp_path, soft=False, label_weight=1.0, settings={"epochs": 8})
    assert trained.steps == 20 and own_loss(after, rendered) < 0.85 * own_loss(before, rendered)


def own_loss(model, rendered):
    total = 0.0
    for one in rendered:
        labels = torch.full((1, len(one.input_ids)), -100)
        labels[0, one.rows] = torch.tensor(one.input_ids[one.rows], dtype=torch.long)
        with torch.no_grad():
            total += float(
                model(torch.tensor(one.input_ids[None], dtype=torch.long), labels=labels).loss
            ) * len(one.rows)
    return total / sum(len(r.rows) for r in rendered)


def test_the_first_logged_loss_is_the_models_own(tmp_path):
    model, trained = run(
        tmp_path,
        soft=False,
        label_weight=1.0,
        settings={"epochs": 1, "batch_size": 10, "learning_rate": 1e-9},
        micro_batch_tokens=24,
    )
    assert trained.log[0]["loss"] == pytest.approx(own_loss(model, corpus()), rel=1e-4)


@pytest.mark.parametrize("make", [student, dropping])
@pytest.mark.parametrize("size", [1, 16, 30])
def test_micro_batches_do_not_change_the_result(tmp_path, size, make):
    whole, _ = run(tmp_path / "a", micro_batch_tokens=48, make=make)
    parts, _ = run(tmp_path / "b", micro_batch_tokens=size, make=make)
    torch.testing.assert_close(weights(parts), weights(whole), rtol=1e-3, atol=1e-4)


def test_distributions_matter(tmp_path):
    labels, _ = run(tmp_path / "a", label_weight=1.0)
    both, _ = run(tmp_path / "b", label_weight=0.5)
    assert (weights(labels) - weights(both)).abs().max() > 1e-3


def test_lambda_goes_from_one_value_to_the_other(tmp_path, monkeypatch):
    seen = {}
    compute = DistillTrainer.compute_loss

    def spy(self, *args, **kwargs):
        seen[self.state.global_step] = self.student.label_weight
        return compute(self, *args, **kwargs)

    monkeypatch.setattr(DistillTrainer, "compute_loss", spy)
    _, trained = run(tmp_path, label_weight=0.5, settings={"label_weight_end": 1.0, "batch_size": 5})
    assert trained.steps == 4 and list(seen.values()) == pytest.approx([0.5, 2 / 3, 5 / 6, 1.0])


def test_focus_is_of_trainings_on_distributions(tmp_path):
    plain, _ = run(tmp_path / "a")
    focused, _ = run(tmp_path / "b", settings={"focus": 2.0})
    assert (weights(plain) - weights(focused)).abs().max() > 1e-3
    labels, _ = run(tmp_path / "c", soft=False, label_weight=1.0)
    same, _ = run(
        tmp_path / "d", soft=False, label_weight=1.0, settings={"focus": 2.0, "label_weight_end": 0.0}
    )
    assert torch.equal(weights(labels), weights(same))


def test_bf16_and_gradient_checkpointing_come_close(tmp_path):
    exact, _ = run(tmp_path / "a")
    half, _ = run(tmp_path / "b", settings={"precision": "bf16"})
    saving, _ = run(tmp_path / "c", gradient_checkpointing=True)
    assert all(p.dtype == torch.float32 for p in half.parameters())
    moved = (weights(exact) - weights(student())).norm()
    assert (weights(half) - weights(exact)).norm() < 0.5 * moved
    torch.testing.assert_close(weights(saving), weights(exact), rtol=1e-4, atol=1e-5)


def experts():
    """transformers saves experts under other names than it keeps them under."""
    torch.manual_seed(0)
    return MixtralForCausalLM(
        MixtralConfig(
            vocab_size=VOCABULARY,
            hidden_size=16,
            intermediate_size=24,
            num_hidden_layers=1,
            num_attention_heads=2,
            num_key_value_heads=1,
            num_local_experts=2,
        )
    )


@pytest.mark.parametrize("last", [None, 0.0])
@pytest.mark.parametrize("make", [student, dropping, experts])  # untied, tied, experts
def test_a_resumed_training_ends_with_the_same_bits(tmp_path, monkeypatch, make, last):
    more = {"make": make, "checkpoint_steps": 2, "settings": {"label_weight_end": last}}
    whole, made = run(tmp_path / "whole", **more)
    run_until(tmp_path / "cut", 4, monkeypatch, **more)
    assert last_checkpoint(tmp_path / "cut").name == "checkpoint-2"
    shown = []

    def bar(steps, done):
        shown.append((steps, done))
        return silent(steps, done)

    resumed, _ = run(tmp_path / "cut", progress=bar, **more)
    assert torch.equal(weights(resumed), weights(whole)) and shown == [(made.steps, 2)]


def with_lora(**settings):
    """A student with factors, and its tied embedding trained whole where that is asked for."""
    torch.manual_seed(0)
    model = GPT2LMHeadModel(GPT2Config(vocab_size=VOCABULARY, n_embd=16, n_layer=2, n_head=2))
    with_factors(model, LoraSettings(r=4, **settings), ModelRef("pivot", ".", "."), seed=3)
    return model


@pytest.mark.parametrize("settings", [{}, {"dropout": 0.2}, {"modules_to_save": ("wte",)}])
def test_resumed_factors_end_with_the_same_bits_and_checkpoints_hold_nothing_else(
    tmp_path, monkeypatch, settings
):
    more = {"make": lambda: with_lora(**settings), "checkpoint_steps": 2}
    whole, _ = run(tmp_path / "whole", **more)
    run_until(tmp_path / "cut", 4, monkeypatch, **more)
    checkpoint = last_checkpoint(tmp_path / "cut")
    trained = [p for p in whole.parameters() if p.requires_grad]
    held = load_file(checkpoint / "model.safetensors")
    assert sum(t.numel() for t in held.values()) == sum(p.numel() for p in trained)
    assert len(torch.load(checkpoint / "optimizer.pt")["state"]) == len(trained)
    resumed, _ = run(tmp_path / "cut", **more)
    assert torch.equal(weights(resumed), weights(whole))
    frozen = weights(with_lora(**settings))
    assert not torch.equal(frozen, weights(whole))


def untied_with_lora():
    model = student()
    with_factors(model, LoraSettings(r=4), ModelRef("pivot", ".", "."), seed=3)
    return model


@pytest.mark.parametrize("make", [with_lora, untied_with_lora])
def test_factors_under_bf16_have_the_bits_that_unrounded_frozen_layers_give(tmp_path, monkeypatch, make):
    half, _ = run(tmp_path / "a", make=make, settings={"precision": "bf16"})
    kinds = {p.dtype for p in half.parameters() if not p.requires_grad}
    assert torch.bfloat16 in kinds or make is with_lora  # GPT-2 has no linear layers of torch's
    monkeypatch.setattr(trainer, "round_frozen", lambda *_: None)
    whole, _ = run(tmp_path / "b", make=make, settings={"precision": "bf16"})
    for one, other in zip(half.parameters(), whole.parameters(), strict=True):
        assert one.dtype == torch.float32 or not one.requires_grad
        assert torch.equal(one, other) or (
            not one.requires_grad and torch.equal(one, other.to(torch.bfloat16))
        )


def test_frozen_weights_stay_and_gradient_checkpointing_trains_the_same_factors(tmp_path):
    before = {n: p.clone() for n, p in with_lora().named_parameters()}
    plain, _ = run(tmp_path / "a", make=with_lora)
    saving, _ = run(tmp_path / "b", make=with_lora, gradient_checkpointing=True)
    torch.testing.assert_close(weights(saving), weights(plain), rtol=1e-4, atol=1e-5)
    for name, parameter in plain.named_parameters():
        assert torch.equal(parameter, before[name]) != parameter.requires_grad


def test_a_half_written_checkpoint_is_passed_over(tmp_path):
    for step, state in ((2, "{}"), (4, '{"global'), (6, None)):
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        if state is not None:
            (folder / "trainer_state.json").write_text(state)
    assert last_checkpoint(tmp_path).name == "checkpoint-2"
