"""The house: PURE files import nothing but mathematics, only console prints, tests mirror src."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from tests.shared import ROOT

SRC = ROOT / "src" / "fusionchat"
PURE = [
    "tokens/spans.py",
    "represent/topk.py",
    "represent/events.py",
    "represent/select.py",
    "align/positions.py",
    "align/vocabulary.py",
    "align/project.py",
    "fuse/rules.py",
    "models/logits.py",
    "distill/loss.py",
    "distill/plan.py",
    "merge/weights.py",
    "evaluate/noise.py",
    "evaluate/statistics.py",
    "evaluate/metric.py",
    "evaluate/t_distribution.py",
    *(str(p.relative_to(SRC)) for p in sorted((SRC / "merge" / "methods").glob("*.py"))),
]
ALLOWED = {
    *sys.stdlib_module_names,
    "numpy",
    "numba",
    "llvmlite",
    "torch",
    "jaxtyping",
}  # llvmlite is numba's


def imports(path: Path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield node.module


def is_pure(module: str) -> bool:
    name = module.removeprefix("fusionchat.").replace(".", "/")
    return f"{name}.py" in PURE or f"{name}/__init__.py" in PURE


def reachable(name: str, seen: set[str]):
    """A PURE file and the package's files it imports, which must be pure as well."""
    for module in imports(SRC / name):
        if module.startswith("fusionchat"):
            part = module.removeprefix("fusionchat.").replace(".", "/")
            file = f"{part}.py" if (SRC / f"{part}.py").is_file() else f"{part}/__init__.py"
            if file not in seen:
                seen.add(file)
                reachable(file, seen)
        else:
            assert module.split(".")[0] in ALLOWED, f"{name} imports {module}"


@pytest.mark.parametrize("name", PURE)
def test_pure_files_import_mathematics_only(name):
    reachable(name, {name})


def test_only_the_console_prints():
    offenders = [
        str(path.relative_to(SRC))
        for path in SRC.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
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
