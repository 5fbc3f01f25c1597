"""The weights of the best step."""

import torch

from fusionchat.distill.best import Best, BestWeights, read_best
from fusionchat.distill.student import Student
from tests.distill.test_trainer import dropping, weights


def test_the_best_of_the_steps_that_were_offered_comes_back(tmp_path):
    model = dropping()  # a tied head
    one, start = Student.of(model, label_weight=1.0), weights(model).clone()
    kept = BestWeights(tmp_path, sharded=False, writes=True)
    for step, bits in [(1, 2.0), (2, 1.5), (3, 1.5), (4, 1.7)]:
        kept.offer(Best(step, bits), one, None)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(1.0)
    again = BestWeights(tmp_path, sharded=False, writes=True)
    assert again.best == Best(2, 1.5) and sorted(path.name for path in tmp_path.iterdir()) == ["best"]
    again.restore(one)
    assert torch.equal(weights(model), start + 1)


def test_where_nothing_is_kept_there_is_no_best(tmp_path):
    assert read_best(tmp_path) is None
