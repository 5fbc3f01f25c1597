"""The factors that an adapter began with."""

import numpy as np
import pytest
import torch

from fusionchat.errors import MergeError
from fusionchat.merge.inputs.adapters.config import read_settings
from fusionchat.merge.inputs.adapters.factors import Pair
from fusionchat.merge.inputs.adapters.initial import Initial
from tests.merge.folders import adapter

DOWN, UP = torch.arange(8.0).reshape(2, 4), torch.arange(12.0).reshape(6, 2)


@pytest.fixture
def made(tmp_path):
    """A function that makes an adapter's `Initial`, and the trained pair of module q."""
    opened = []

    def get(down, up, **config):
        tensors = {"base_model.model.q.lora_A.weight": down, "base_model.model.q.lora_B.weight": up}
        folder = adapter(tmp_path / f"a{len(opened)}", tensors, **config)
        opened.append(Initial.of(folder))
        held = opened[-1].contents.modules["q"]
        return opened[-1], Pair.of("q", held, read_settings(folder))

    yield get
    for one in opened:
        one.file.close()


@pytest.mark.parametrize(
    ("config", "scale"), [({}, 3), ({"use_rslora": True}, 6 / 2**0.5), ({"alpha_pattern": {"q": 1}}, 0.5)]
)
def test_b_is_scaled_and_a_is_not(made, config, scale):
    """lora_alpha is 6, the rank 2; the scale is the initial adapter's own."""
    initial, pair = made(DOWN, UP, **config)
    up, down = initial.factors(pair, initial.settings)()
    np.testing.assert_allclose(up, scale * UP.double().numpy(), rtol=1e-12)
    np.testing.assert_array_equal(down, DOWN.double().numpy())


def test_factors_that_do_not_belong_to_the_trained_ones(made):
    initial, _ = made(DOWN, UP)
    _, wider = made(torch.ones(2, 5), UP)
    for pair in (wider, Pair("other", wider.down, wider.up, 1, 1, False)):
        with pytest.raises(
            MergeError, match=f"initial factors of {pair.module} are missing or of another shape"
        ):
            initial.factors(pair, initial.settings)


def test_a_folder_that_cannot_be_read_is_an_error(tmp_path):
    folder = adapter(tmp_path / "a", {"base_model.model.q.lora_A.weight": DOWN})
    (folder / "adapter_config.json").write_text("{")
    with pytest.raises(MergeError, match="config is damaged"):
        Initial.of(folder)
