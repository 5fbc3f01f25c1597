"""Messages say what, where and what to do; exit codes say whose fault it is."""

import pytest

from fusionchat import errors
from fusionchat.errors import DamagedError, FusionChatError, MachineError


def test_a_message_has_a_line_for_each_part():
    error = FusionChatError("It is wrong", where="recipe.yaml: corpus", do="correct it")
    assert str(error) == "It is wrong\n  where: recipe.yaml: corpus\n  do:    correct it"
    assert str(FusionChatError("It is wrong")) == "It is wrong"
    assert str(FusionChatError("It is wrong", do="correct it")) == "It is wrong\n  do:    correct it"
    assert (error.what, error.where, error.do) == ("It is wrong", "recipe.yaml: corpus", "correct it")


KINDS = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, Exception)]


@pytest.mark.parametrize("kind", KINDS)
def test_mistakes_end_with_2_and_machines_with_3(kind):
    assert kind.exit_code == (3 if kind is MachineError else 2)


def test_a_damaged_file_says_what_to_remove(tmp_path):
    error = DamagedError("It is damaged", path=tmp_path / "a" / "b", folder=tmp_path / "a")
    assert (error.path, error.folder, error.where) == (
        tmp_path / "a/b",
        tmp_path / "a",
        str(tmp_path / "a/b"),
    )
    assert error.do == f"remove {tmp_path / 'a'} and run again; the rest is kept"
