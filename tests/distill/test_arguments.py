"""What Trainer goes by."""

import torch

from fusionchat.distill.arguments import arguments_of
from fusionchat.distill.settings import DistillSettings


def test_of_several_gpus_it_takes_the_one_that_was_asked_for(tmp_path, monkeypatch):
    """Trainer would join four micro-batches into one, of which the collator takes the first."""
    from accelerate.state import AcceleratorState

    current = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    monkeypatch.setattr(torch.cuda, "set_device", current.append)
    try:
        settings = DistillSettings(precision="fp32")
        chosen = arguments_of(settings, 200, 0, tmp_path, torch.device("cuda:1"))
        assert (chosen.train_batch_size, chosen.device) == (1, torch.device("cuda:1"))
        assert current[-1] == torch.device("cuda:1")
        any_of_them = arguments_of(settings, 200, 0, tmp_path, torch.device("cuda"))
        assert (any_of_them.train_batch_size, any_of_them.device) == (1, torch.device("cuda:0"))
    finally:
        AcceleratorState._reset_state(reset_partial_state=True)
