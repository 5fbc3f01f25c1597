"""Steps of a benchmark are made once, also by two programs one after another."""

import pytest
from benchmarks.steps import Steps


def test_a_step_that_is_kept_is_not_made_again(tmp_path):
    path, said = tmp_path / "steps.jsonl", []
    assert Steps(path).step("a", lambda: [1, None]) == [1, None]
    again = Steps(path, lambda held: said.append(dict(held)))
    assert again.step("a", lambda: 1 / 0) == [1, None]
    with pytest.raises(ZeroDivisionError):
        again.step("b", lambda: 1 / 0)
    assert again.step("b", lambda: {"c": 2.5}) == {"c": 2.5}
    assert said == [{"a": [1, None], "b": {"c": 2.5}}]
    assert Steps(path).held == {"a": [1, None], "b": {"c": 2.5}}
