"""A small model, and the same quantized."""

import pytest

from tests.models.placed import NF4, opened, ref
from tests.small import small_model


@pytest.fixture(scope="session")
def small(tiny_input, tmp_path_factory):
    """A folder with a model, an adapter for it, and the model quantized."""
    root = tmp_path_factory.mktemp("small")
    small_model(root / "m", tiny_input / "models/qwen")
    return root


@pytest.fixture(scope="session")
def nf4(small):
    pytest.importorskip("bitsandbytes", reason="bitsandbytes, of the extra [quant], is not here")
    model = opened(ref(small / "m"), NF4)
    model.save_pretrained(small / "nf4")
    return model
