"""Noise of rounding that VaRM counts as change is said where it may move a share by more than 0.02."""

import pytest

from fusionchat.artifacts import write_json
from fusionchat.merge.methods.linear import Linear
from fusionchat.merge.methods.varm import Varm
from fusionchat.merge.stream.result import REPORT
from fusionchat.stages.noise import NOISE, TRAINING, noise_of, warn_of_noise


def targets(root, *noise):
    made = {}
    for number, one in enumerate(noise):
        made[f"target{number}"] = root / f"target{number}" / "model"
        made[f"target{number}"].mkdir(parents=True)
        write_json(root / f"target{number}" / TRAINING, {"steps": 4} | ({NOISE: one} if one else {}))
    (root / "merged").mkdir()
    write_json(root / "merged" / REPORT, {"summary": {"rms": [3e-4, 4e-4][: len(noise)]}})
    return made


@pytest.mark.parametrize(
    ("noise", "off", "said"),
    [
        ((1e-4, 1e-4), 0.04, "target0, target1"),
        ((0.0, 1e-4), 0.04, "rounding of target1 "),
        ((5e-5, 0.0), 0.01, ""),
    ],
)
def test_shares_that_may_be_far_off_are_named(tmp_path, capsys, noise, off, said):
    made = targets(tmp_path, *noise)
    assert [noise_of(model) for model in made.values()] == list(noise)
    assert warn_of_noise(Varm(), made, tmp_path / "merged") == pytest.approx(off)
    shown = " ".join(capsys.readouterr().err.split())
    assert (said in shown and "off by 0.04" in shown) if said else not shown


def test_other_merges_and_exact_targets_have_nothing_to_say(tmp_path, capsys):
    noisy = targets(tmp_path / "a", 1e-4, 1e-4)
    assert warn_of_noise(Linear(), noisy, tmp_path / "a" / "merged") == 0.0
    exact = targets(tmp_path / "b", 0.0, 0.0)
    assert warn_of_noise(Varm(), exact, tmp_path / "b" / "merged") == 0.0
    assert noise_of(tmp_path / "elsewhere" / "model") == 0.0
    assert not capsys.readouterr().err
