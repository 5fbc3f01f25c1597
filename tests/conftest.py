"""Shapes and dtypes that the signatures of the PURE files promise are checked in every test."""

import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

import torch
from hypothesis import settings

from tests.shapes import check_shapes

pytest_plugins = ["tests.tiny"]

check_shapes()

torch.set_num_threads(1)  # the models are tiny: threads only wait for each other

# The same examples every time: a test that fails fails for everyone. HYPOTHESIS_PROFILE=default looks for new ones.
settings.register_profile("fixed", derandomize=True, deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "fixed"))
