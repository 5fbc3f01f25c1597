"""The precisions of a recipe, and the bytes that each takes."""

import pytest
from pydantic import ValidationError

from fusionchat.distill.precision import Bf16Weights, bytes_kept, compensation, moments
from fusionchat.distill.settings import DistillSettings, TrainingSettings

KAHAN = Bf16Weights()
STOCHASTIC = Bf16Weights.model_validate({"bf16_weights": {"rounding": "stochastic"}})
EIGHT_BIT = "adamw_bnb_8bit"


@pytest.mark.parametrize(
    "given", ["bf16_weights", {"bf16_weights": {}}, {"bf16_weights": {"rounding": "kahan"}}]
)
def test_a_word_is_short_for_the_default(given):
    settings = DistillSettings.model_validate({"precision": given})
    assert settings.precision == KAHAN and settings.half
    assert TrainingSettings.model_validate(settings.hard().model_dump()).precision == KAHAN


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("bf15", "there is no precision 'bf15' (did you mean 'bf16'?); there are bf16, fp32, bf16_weights"),
        ({"bf16_weights": {"rounding": "up"}}, "kahan"),
        ({"bf16": {}}, "Extra inputs"),
    ],
)
def test_another_one_is_refused(given, said):
    with pytest.raises(ValidationError) as error:
        TrainingSettings.model_validate({"precision": given})
    assert said in str(error.value)


def test_fp32_passes_are_not_half():
    assert not TrainingSettings(precision="fp32").half and TrainingSettings().half


def test_finished_trainings_know_no_optimizer():
    assert "optim" not in TrainingSettings().model_dump()
    assert TrainingSettings(optim=EIGHT_BIT).model_dump()["optim"] == EIGHT_BIT


@pytest.mark.parametrize(
    ("precision", "optim", "kept"),
    [
        ("fp32", "adamw_torch_fused", 12),
        ("bf16", "adamw_torch_fused", 12),
        (KAHAN, "adamw_torch", 12),
        (KAHAN, EIGHT_BIT, 6.1),
        (STOCHASTIC, EIGHT_BIT, 4.1),
        ("fp32", "sgd", 4),
    ],
)
def test_bytes_of_a_parameter(precision, optim, kept):
    assert bytes_kept(precision, optim) == pytest.approx(kept)


def test_bytes_beside_a_weight_and_of_the_state():
    assert [compensation(one) for one in ("fp32", "bf16", KAHAN, STOCHASTIC)] == [0, 0, 2, 0]
    assert (moments("adamw_torch"), moments("a new one"), moments("adafactor")) == (8, 8, 0)
