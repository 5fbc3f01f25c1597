"""Trainings in bf16, of bf16 weights and with other optimizers: near fp32's, resumed to the bit, checkpoints without more."""

import pytest
import torch

from fusionchat.distill.checkpoints import last_checkpoint
from tests.distill.test_trainer import dropping, run, run_until, student, weights, with_lora

KAHAN = {"bf16_weights": {"rounding": "kahan"}}
PACKAGES = {"adamw_bnb_8bit": "bitsandbytes", "adamw_torch_8bit": "torchao"}
STOCHASTIC = {"bf16_weights": {"rounding": "stochastic"}}


def on_the_grid():
    """A student that was published in bf16."""
    return student().bfloat16().float()


def changes(tmp_path, precision, **settings):
    settings = {"precision": precision, "learning_rate": 1e-4} | settings
    trained, _ = run(tmp_path, make=on_the_grid, settings=settings)
    assert all(p.dtype == torch.float32 for p in trained.parameters())
    return weights(trained) - weights(on_the_grid())


def apart(change, exact):
    return float((change - exact).norm() / exact.norm())


def test_bf16_weights_learn_what_fp32_weights_learn_if_what_they_lack_is_kept(tmp_path):
    exact = changes(tmp_path / "a", "fp32")
    passes = apart(changes(tmp_path / "b", "bf16"), exact)
    kahan = apart(changes(tmp_path / "c", KAHAN), exact)
    noisy = apart(changes(tmp_path / "d", STOCHASTIC), exact)
    assert passes < 0.2 and kahan < 0.2 and noisy > 0.3


@pytest.mark.parametrize("optim", PACKAGES)
def test_8_bit_adamw_comes_close_on_weights_of_either_kind(tmp_path, optim):
    pytest.importorskip(PACKAGES[optim])
    exact = changes(tmp_path / "a", "fp32")
    for name, precision in (("b", "fp32"), ("c", KAHAN)):
        assert apart(changes(tmp_path / name, precision, optim=optim), exact) < 0.25


def test_the_noise_of_a_target_is_known(tmp_path):
    """What a target's change has beyond fp32's is independent of it: mean squares add up."""
    settings = {"learning_rate": 1e-4}
    exact = changes(tmp_path / "a", "fp32")
    noisy, left = run(tmp_path / "b", make=on_the_grid, settings=settings | {"precision": STOCHASTIC})
    change = weights(noisy) - weights(on_the_grid())
    assert left.noise**2 == pytest.approx(float(change.square().mean() - exact.square().mean()), rel=0.1)
    _, left = run(tmp_path / "c", make=on_the_grid, settings=settings | {"precision": KAHAN})
    assert left.noise == 0.0


@pytest.mark.parametrize(
    ("precision", "optim"),
    [
        ("bf16", "adamw_torch_fused"),
        (KAHAN, "adamw_torch"),
        (KAHAN, "adamw_bnb_8bit"),
        (STOCHASTIC, "adamw_torch_fused"),
        ("fp32", "adamw_bnb_8bit"),
        (KAHAN, "adamw_torch_8bit"),
        ("fp32", "adamw_torch_8bit"),
        (KAHAN, "adamw_torch_fused"),
    ],
)
def test_a_resumed_training_ends_with_the_same_bits(tmp_path, monkeypatch, precision, optim):
    if optim in PACKAGES:
        pytest.importorskip(PACKAGES[optim])
    settings = {"precision": precision, "optim": optim, "epochs": 3}
    make = with_lora if optim == "adamw_torch_fused" and precision == KAHAN else dropping
    more = {"make": make, "checkpoint_steps": 2, "settings": settings}
    whole, ended = run(tmp_path / "whole", **more)
    run_until(tmp_path / "cut", 6, monkeypatch, **more)
    assert last_checkpoint(tmp_path / "cut").name == "checkpoint-4"
    assert [one.name for one in (tmp_path / "cut").glob("checkpoint-*")] == ["checkpoint-4"]
    resumed, left = run(tmp_path / "cut", **more)
    assert torch.equal(weights(resumed), weights(whole)) and left.noise == ended.noise
