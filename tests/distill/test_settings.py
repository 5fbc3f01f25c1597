"""Label weights that are trained, and the settings of the two kinds of training."""

import pytest
from pydantic import ValidationError

from fusionchat.distill.settings import DistillSettings, SoftTrainingSettings, TrainingSettings


def test_the_recipe_s_own_label_weight_comes_first_and_once():
    settings = DistillSettings(label_weight=0.9, sweep=(0.5, 0.9, 0.0))
    assert settings.label_weights == (0.9, 0.5, 0.0)
    assert DistillSettings(label_weight=0.3).label_weights == (0.3,)


@pytest.mark.parametrize(("sweep", "words"), [((0.5, 1.5), "between 0 and 1"), ((0.5, 0.5), "given twice")])
def test_label_weights_that_cannot_be_trained_are_refused(sweep, words):
    with pytest.raises(ValidationError, match=words):
        DistillSettings(sweep=sweep)


def test_a_training_has_its_own_settings_only():
    """A training's fingerprint must not change with the sweep, nor that of SFT with the label weight."""
    settings = DistillSettings(
        learning_rate=1e-4, epochs=2, sweep=(0.5,), seeds=3, tail="renormalize", label_weight_end=0.7, focus=2
    )
    assert settings.hard() == TrainingSettings(learning_rate=1e-4, epochs=2)
    assert type(settings.hard()) is TrainingSettings
    soft = settings.soft(0.5)
    assert soft == SoftTrainingSettings(
        learning_rate=1e-4, epochs=2, label_weight=0.5, tail="renormalize", label_weight_end=0.7, focus=2.0
    )
    assert type(soft) is SoftTrainingSettings and settings.label_weight == 0.9
