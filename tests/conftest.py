"""Shapes and dtypes that the signatures of the PURE files promise are checked in every test."""

import gc
import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
# Threads of OpenMP that have nothing to do spin: two ranks beside one other process took 100 s, and take 21.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import pytest
import torch
from hypothesis import settings

from tests.shapes import check_shapes

gc.disable()  # until all tests are imported: nothing of that is garbage

pytest_plugins = ["tests.tiny", "tests.forked"]

check_shapes()

torch.set_num_threads(1)  # the models are tiny: threads only wait for each other

# The same examples every time: a test that fails fails for everyone. HYPOTHESIS_PROFILE=default looks for new ones.
settings.register_profile("fixed", derandomize=True, deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "fixed"))


def pytest_collection_finish():
    """Collect garbage from now on."""
    gc.enable()


@pytest.fixture(scope="module", autouse=True)
def what_is_there_is_no_garbage():
    """Every training ends with a search for garbage, which takes a second where all that is imported is looked through."""
    gc.collect()
    gc.freeze()
