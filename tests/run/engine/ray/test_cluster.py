"""Joining a cluster, and the nodes that do not see the run's folder; see test_two_nodes.py for a real one."""

import pytest

from fusionchat.errors import MachineError, RecipeError
from fusionchat.run.engine.ray.cluster import require_ray, require_seen


def test_nodes_that_do_not_see_the_folder_are_named(tmp_path):
    require_seen(tmp_path, "t", {"a": "t", "b": "t"})
    with pytest.raises(MachineError, match=r"b and d of 4 nodes do not see the run's folder"):
        require_seen(tmp_path, "t", {"a": "t", "b": "", "c": None, "d": "old"})
    with pytest.raises(MachineError, match=r"^c of 3 nodes does not answer"):
        require_seen(tmp_path, "t", {"a": "t", "b": "t", "c": None})


def test_without_the_package_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(RecipeError, match="needs the package ray"):
        require_ray()
