"""Joining a cluster, and the nodes that do not see the run's folder; see test_real_cluster.py for a real one."""

import socket
from pathlib import Path
from types import SimpleNamespace

import pytest

from fusionchat.errors import MachineError, RecipeError
from fusionchat.run.engine.ray import cluster
from fusionchat.run.engine.ray.asks import Node
from fusionchat.run.engine.ray.cluster import joined, not_joined, require_answer, require_ray, require_seen
from fusionchat.runtime import RayRuntime


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


def test_a_node_that_has_left_meanwhile_is_not_waited_for(tmp_path, monkeypatch):
    """Ray finds a dead node out some seconds later: the same command may be given before."""
    pytest.importorskip("ray", reason="the extra `ray` is not installed")
    from ray.exceptions import WorkerCrashedError

    a, b = Node("a", 28 * "0a", {}), Node("b", 28 * "0b", {})

    def read_by(node):
        def read(path):
            if node == b.id:
                raise WorkerCrashedError
            return Path(path).read_text()

        return read

    def options(scheduling_strategy, **_):
        return SimpleNamespace(remote=lambda path: (read_by(scheduling_strategy.node_id), path))

    monkeypatch.setattr("ray.remote", lambda _: SimpleNamespace(options=options))
    monkeypatch.setattr("ray.wait", lambda refs, **_: (refs, []))
    monkeypatch.setattr("ray.get", lambda ref: ref[0](ref[1]))
    monkeypatch.setattr(cluster, "nodes_now", lambda: [a])
    cluster.probe(tmp_path, [a, b])
    monkeypatch.setattr(cluster, "nodes_now", lambda: [a, b])
    with pytest.raises(MachineError, match="b of 2 nodes does not answer"):
        cluster.probe(tmp_path, [a, b])
    assert not list(tmp_path.rglob("probe-*"))


@pytest.mark.parametrize("address", ["127.0.0.1:{}", "127.0.0.1:99999", "127.0.0.1"])
def test_an_address_where_nothing_answers_is_named_at_once(address):
    pytest.importorskip("ray", reason="the extra `ray` is not installed")
    with socket.create_server(("127.0.0.1", 0)) as used:
        port = used.getsockname()[1]
        require_answer(f"127.0.0.1:{port}")
    address = address.format(port)
    what = f"nothing answers at {address} .*\n.*runtime.ray.address"
    with pytest.raises(MachineError, match=what), joined(RayRuntime(address=address)):
        pass


def test_a_cluster_of_another_version_is_named_with_both():
    mismatch = RuntimeError(
        "Version mismatch: The cluster was started with:\n    Ray: 2.40.0\n    Python: 3.11.7\n"
    )
    said = str(not_joined(mismatch))
    assert said.startswith("Version mismatch: The cluster was started with: Ray: 2.40.0 Python: 3.11.7\n")
    assert "use the Python and Ray versions of the cluster" in said
    assert "No Ray cluster can be joined: gone\n" in str(not_joined(ConnectionError("gone\nand so on")))
    assert "No Ray cluster can be joined: ValueError\n" in str(not_joined(ValueError()))
