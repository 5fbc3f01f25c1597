"""A model that knows the answers of `toys.KNOWN`."""

import pytest
import torch
from transformers import LlamaForCausalLM

from tests.evaluate.tasks.toys import KNOWN, teach
from tests.evaluate.test_greedy import llama


@pytest.fixture(scope="package")
def taught() -> LlamaForCausalLM:
    model, threads = llama(), torch.get_num_threads()
    torch.set_num_threads(1)  # far faster for a model as small as this
    teach(model, KNOWN)
    torch.set_num_threads(threads)
    return model
