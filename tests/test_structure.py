"""The house: floors, no circles, PURE files import nothing but mathematics, only console prints."""

import ast
import subprocess
import sys
import tomllib

import pytest

from tests.structure import (
    FLOORS,
    GROUND,
    NOT_PURE,
    PURE,
    ROOT,
    SRC,
    all_imports,
    file_circles,
    hidden_statements,
    impure,
    long_first_lines,
    misplaced,
    mypy_modules,
    room_circles,
    tree,
    untested,
    upward,
)


def test_no_circle_of_files():
    assert file_circles() == []


def test_no_circle_among_the_files_and_folders_of_a_folder():
    assert room_circles() == {}


def test_no_arrow_upward():
    wrong = {f"{one.importer} imports {one.imported}" for one in upward()}
    assert wrong == set()


def test_pure_files_import_mathematics_and_pure_files_only():
    assert impure() == []


def test_the_lists_name_what_is_there():
    assert [one for one in (*PURE, *NOT_PURE, *FLOORS) if not (SRC / one).exists()] == []
    assert [one for one in GROUND if not (SRC / f"{one}.py").is_file()] == []


def test_mypy_is_strict_with_the_same_files():
    overrides = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["mypy"]["overrides"]
    assert overrides[0]["module"] == mypy_modules()


def test_every_file_has_its_tests_at_the_mirrored_path():
    assert untested() == []


def test_every_test_is_of_a_file_of_the_package_or_of_several():
    assert misplaced() == []


def test_the_first_line_of_every_docstring_has_under_100_characters():
    assert long_first_lines() == []


HOUSE = {
    "__init__.py": "",
    "errors.py": "import os",
    "tokens/__init__.py": "",
    "tokens/a.py": "def f():\n    from fusionchat.tokens.deep import b",
    "tokens/deep/__init__.py": "",
    "tokens/deep/b.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from fusionchat.tokens.a import f",
    "corpus/__init__.py": "from fusionchat.discover import discover\nKINDS = discover(__name__, __path__, int)",
    "corpus/c.py": "import importlib\nm = importlib.import_module('fusionchat.models.d')",
    "models/__init__.py": "",
    "models/d.py": "import fusionchat.errors\nfrom fusionchat.tokens import a",
    "align/__init__.py": "",
    "align/e.py": "import torch\nimport yaml\nfrom fusionchat.models.d import a",
    "discover.py": "",
}


@pytest.fixture
def house(tmp_path):
    for name, text in HOUSE.items():
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def test_every_import_is_read(house):
    own, foreign = all_imports(house)
    arrows = {(one.importer, one.imported, one.hidden) for one in own}
    assert arrows == {
        ("tokens/a.py", "tokens/deep/b.py", True),
        ("tokens/deep/b.py", "tokens/a.py", True),
        ("corpus/__init__.py", "discover.py", False),
        ("corpus/__init__.py", "corpus/c.py", False),
        ("corpus/c.py", "models/d.py", True),
        ("models/d.py", "errors.py", False),
        ("models/d.py", "tokens/a.py", False),
        ("align/e.py", "models/d.py", False),
    }
    assert {one.module for one in foreign if one.importer == "align/e.py"} == {"torch", "yaml"}


def test_circles_arrows_upward_and_impure_imports_are_found(house):
    assert file_circles(house) == [["tokens/a.py", "tokens/deep/b.py"]]
    assert room_circles(house) == {"tokens": [["a.py", "deep"]]}
    assert [(one.importer, one.imported) for one in upward(house)] == [("corpus/c.py", "models/d.py")]
    assert impure(house) == ["align/e.py:2 imports yaml", "align/e.py:3 imports models/d.py"]
    assert hidden_statements(house) == 1


def test_first_lines_that_are_too_long_are_found(tmp_path):
    line = "x" * 99
    text = f'"""{line}"""\nA = 1\n"""{line}y"""\n\ndef f():\n    """{line}\n\n    {line}y\n    """\n'
    (tmp_path / "a.py").write_text(text + f'\nclass B:\n    """\n    {line}y"""\n')
    assert long_first_lines(tmp_path) == ["a.py:3", "a.py:12"]


def test_files_without_tests_and_tests_without_files_are_found(house, tmp_path_factory, monkeypatch):
    tests = tmp_path_factory.mktemp("tests")
    for name in (
        "test_errors.py",
        "tokens/test_tokens.py",
        "tokens/deep/test_b.py",
        "tokens/test_gone.py",
        "test_all.py",
    ):
        (tests / name).parent.mkdir(exist_ok=True, parents=True)
        (tests / name).write_text("")
    reasons = dict.fromkeys(["models/*.py", "errors.py", "old.py", "discover.py"], "none")
    monkeypatch.setattr("tests.structure.NOTHING_TO_TEST", reasons)
    monkeypatch.setattr("tests.structure.OF_SEVERAL_FILES", ("test_all.py", "test_old.py"))
    assert untested(house, tests) == [
        "align/e.py has no align/test_e.py", "corpus/c.py has no corpus/test_c.py", "errors.py has a reason and a test",
        "tokens/a.py has no tokens/test_a.py", "old.py is in NOTHING_TO_TEST and gone",
    ]  # fmt: skip
    assert misplaced(house, tests) == [
        "tokens/test_gone.py is the test of no file", "test_old.py is in OF_SEVERAL_FILES and gone"
    ]  # fmt: skip


def test_only_the_console_prints():
    offenders = [
        str(path.relative_to(SRC))
        for path in SRC.rglob("*.py")
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
    ]
    assert offenders == []


def test_importing_the_package_and_help_need_no_torch():
    code = "import sys, fusionchat, fusionchat.cli.verbs; assert not {'torch', 'transformers', 'numpy'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_every_public_name_resolves():
    import fusionchat

    assert all(getattr(fusionchat, name) is not None for name in fusionchat.__all__)
    with pytest.raises(AttributeError):
        fusionchat.nothing  # noqa: B018
