"""The recipe's engine gets the jobs; Ray is an extra."""

from types import SimpleNamespace

import pytest

from fusionchat.errors import RecipeError
from fusionchat.run.engine import engines
from tests.run.toy import chain


def test_the_local_engine_is_the_default(tmp_path):
    planned = chain(tmp_path)
    engines.run_jobs(planned, list(planned.jobs.values()), None)
    assert (tmp_path / "toy/2/words.txt").read_text() == "abc"


def test_without_the_package_ray_the_error_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    planned = SimpleNamespace(recipe=SimpleNamespace(runtime=SimpleNamespace(engine="ray")))
    with pytest.raises(RecipeError, match="needs the package ray") as error:
        engines.run_jobs(planned, [], None)
    assert error.value.do == "pip install 'fusionchat[ray]'"
