"""The house as its imports show it: floors, pure files, and every import of the package, wherever it is written."""

import ast
import sys
from collections.abc import Iterable, Iterator, Mapping
from fnmatch import fnmatch
from functools import cache
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
SRC = ROOT / "src" / "fusionchat"

GROUND = (
    "errors", "units", "settings", "mistakes", "discover", "runtime", "console", "watch", "artifacts", "damage", "threads", "hub",
    "host", "machine_memory", "lease", "version", "yaml", "devices", "arrays", "compiled",
)  # fmt: skip
"""Files of the ground floor; one may import another."""

FLOORS = (
    "tokens", "corpus", "models", "represent", "align", "fuse", "distill", "merge", "evaluate", "answer", "recipe",
    "run", "report", "stages", "chat", "demo", "cli",
)  # fmt: skip
"""Rooms from below: a file imports from its own room, from rooms named before it, and from the ground floor."""

API = ("__init__", "__main__", "api")
"""The package's own files, on top of all rooms."""

PURE = (
    "align",
    "answer/draw.py",
    "compiled.py",
    "corpus/compact.py",
    "corpus/supervised.py",
    "discover.py",
    "distill/divergence.py",
    "distill/gradient.py",
    "distill/loss.py",
    "distill/batching.py",
    "distill/products.py",
    "distill/rounding.py",
    "distill/schedule.py",
    "errors.py",
    "evaluate/choice/draw.py",
    "evaluate/choice/score.py",
    "evaluate/metric.py",
    "evaluate/noise.py",
    "evaluate/power.py",
    "evaluate/statistics.py",
    "evaluate/t_distribution.py",
    "fuse",
    "merge/kernels",
    "merge/methods",
    "merge/weights.py",
    "models/logits.py",
    "models/onednn.py",
    "represent/bits.py",
    "represent/entries.py",
    "represent/events.py",
    "represent/kernel.py",
    "represent/select.py",
    "represent/store/codes.py",
    "represent/store/cut.py",
    "represent/topk.py",
    "tokens/spans.py",
    "units.py",
)
"""Folders and files that compute and do nothing else. mypy's stricter settings and the tests' check of shapes read this list."""

NOT_PURE = ("align/preview.py",)
"""Files of those folders that are not: a preview renders a sample of the corpus."""

NOTHING_TO_TEST = {
    "__main__.py": "one call of the command line",
    "version.py": "one text, which packaging reads too",
    "align/projection/arrays.py": "tuples of arrays; the tests of the loops fill them",
    "demo/domains/*.py": "text, file by file; tests/demo/domains/test_domains.py writes all of it",
}
"""Files of the package without a test file of their own, and why."""

OF_SEVERAL_FILES = (
    "benchmarks/*.py", "toys/*.py", "test_docs.py", "test_forked.py", "test_readme.py", "test_recipes.py", "test_shapes.py",
    "test_structure.py",
    "cli/test_commands.py", "corpus/test_added.py", "distill/test_ranks.py",
    "distill/test_trainer_precision.py", "merge/methods/test_properties.py",
    "recipe/test_light.py",
    "represent/endpoint/test_record.py", "represent/endpoint/test_server.py", "run/engine/ray/test_real_cluster.py",
    "run/test_settings_property.py",
    "stages/test_cuts.py", "stages/test_represent_endpoint.py",
)  # fmt: skip
"""Tests of no file of the package: of the repository, or of several files at once (their first lines say of which)."""

MATHEMATICS = frozenset(["numpy", "numba", "llvmlite", "torch", "jaxtyping"])  # llvmlite is numba's
"""What a pure file may import beside the standard library and other pure files."""


class Import(NamedTuple):
    """One import of a module of the package by another, as file names relative to the package.

    Attributes:
        importer: The file that has the import.
        imported: The file that is imported.
        hidden: Whether it is inside a function, under TYPE_CHECKING, or a call of `import_module`.
        line: Where.
    """

    importer: str
    imported: str
    hidden: bool
    line: int


class Foreign(NamedTuple):
    """An import of a module outside the package.

    Attributes:
        importer: The file that has the import, relative to the package.
        module: The module's name up to the first dot.
        hidden: As for `Import`.
        line: Where.
    """

    importer: str
    module: str
    hidden: bool
    line: int


class Found(NamedTuple):
    """A module that a file names in an import, or all modules that begin with a text.

    Attributes:
        name: The module.
        hidden: As for `Import`.
        line: Where.
    """

    name: str
    hidden: bool
    line: int


@cache
def files(src: Path = SRC) -> tuple[str, ...]:
    """Every Python file of the package, relative to it, sorted."""
    return tuple(sorted(path.relative_to(src).as_posix() for path in src.rglob("*.py")))


@cache
def tree(path: Path) -> ast.Module:
    """The syntax tree of a file."""
    return ast.parse(path.read_text(encoding="utf-8"))


@cache
def all_imports(src: Path = SRC) -> tuple[tuple[Import, ...], tuple[Foreign, ...]]:
    """Every import in the package: of its own files, and of other modules."""
    own, foreign = list[Import](), list[Foreign]()
    for file in files(src):
        for found in named_modules(tree(src / file), file):
            if found.name.split(".")[0] != "fusionchat":
                foreign.append(Foreign(file, found.name.split(".")[0], found.hidden, found.line))
            else:
                meant = files_of(found.name, src)
                assert meant, f"{file}:{found.line}: there is no {found.name}"
                own += [Import(file, one, found.hidden, found.line) for one in meant if one != file]
    return tuple(own), tuple(foreign)


def named_modules(module: ast.Module, file: str) -> Iterator[Found]:
    """The modules that a file imports. A name that is not written out is an error but in discover.py.

    ``from package import name`` is an import of ``package.name`` where that is a module; a call of `discover` imports
    every module of its package.
    """
    for node, hidden in walk(module, False):
        if isinstance(node, ast.Import):
            yield from (Found(alias.name, hidden, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0 and node.module, f"{file}:{node.lineno}: a relative import"
            yield from (Found(f"{node.module}.{alias.name}", hidden, node.lineno) for alias in node.names)
        elif isinstance(node, ast.Call) and called(node) in ("import_module", "__import__"):
            name = node.args[0]
            if file.removesuffix(".py") in API:  # the public names, which are on the top floor
                continue
            if isinstance(name, ast.Constant):
                yield Found(str(name.value), True, node.lineno)
            elif isinstance(name, ast.JoinedStr) and isinstance(name.values[0], ast.Constant):
                yield Found(f"{name.values[0].value}*", True, node.lineno)
            else:
                assert file == "discover.py", f"{file}:{node.lineno}: no name to read in {ast.unparse(node)}"
        elif isinstance(node, ast.Call) and called(node) == "discover":
            yield Found(".".join(["fusionchat", *Path(file).parent.parts, "*"]), hidden, node.lineno)


def walk(node: ast.AST, hidden: bool) -> Iterator[tuple[ast.AST, bool]]:
    """Every node below one, and whether it is in a function or under TYPE_CHECKING."""
    for child in ast.iter_child_nodes(node):
        inside = hidden or isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        inside = inside or (isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test))
        yield child, hidden
        yield from walk(child, inside)


def called(call: ast.Call) -> str:
    """The name of the function that is called, without what is before its last dot."""
    function = call.func
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


def files_of(name: str, src: Path) -> list[str]:
    """The files of a module of the package, or of all modules of a package (``fusionchat.stages.*``)."""
    parts = name.split(".")[1:]
    known = frozenset(files(src))
    if parts and parts[-1].endswith("*"):
        folder = "/".join(parts[:-1])
        return [one for one in known if str(Path(one).parent) == folder and Path(one).name != "__init__.py"]
    for length in (len(parts), len(parts) - 1):  # the last part may be a name in the module
        stem = "/".join(parts[:length])
        for file in (f"{stem}.py", f"{stem}/__init__.py".lstrip("/")):
            if length >= 0 and file in known:
                return [file]
    return []


def circles(arrows: Mapping[str, Iterable[str]]) -> list[list[str]]:
    """Groups of nodes that reach each other (Tarjan's strongly connected components of two and more), sorted."""
    index, low, on_stack = dict[str, int](), dict[str, int](), list[str]()
    found = list[list[str]]()

    def visit(node: str) -> None:
        index[node] = low[node] = len(index)
        on_stack.append(node)
        for other in sorted(arrows.get(node, ())):
            if other not in index:
                visit(other)
                low[node] = min(low[node], low[other])
            elif other in on_stack:
                low[node] = min(low[node], index[other])
        if low[node] == index[node]:
            at = on_stack.index(node)
            group = on_stack[at:]
            del on_stack[at:]
            if len(group) > 1:
                found.append(sorted(group))

    for node in sorted(arrows):
        if node not in index:
            visit(node)
    return sorted(found)


def file_circles(src: Path = SRC) -> list[list[str]]:
    """Circles of files."""
    return circles(grouped((one.importer, one.imported) for one in all_imports(src)[0]))


def room_circles(src: Path = SRC) -> dict[str, list[list[str]]]:
    """Circles among the direct children (files and folders) of every folder that has one, by folder.

    An import counts in the one folder where the paths of its two files part.
    """
    by_folder: dict[str, list[tuple[str, str]]] = {}
    for one in all_imports(src)[0]:
        a, b = Path(one.importer).parts, Path(one.imported).parts
        shared = next(i for i in range(len(a)) if a[i] != b[i])
        by_folder.setdefault("/".join(a[:shared]) or ".", []).append((a[shared], b[shared]))
    found = {folder: circles(grouped(pairs)) for folder, pairs in sorted(by_folder.items())}
    return {folder: groups for folder, groups in found.items() if groups}


def grouped(pairs: Iterable[tuple[str, str]]) -> dict[str, set[str]]:
    """The arrows of pairs by their begin."""
    arrows: dict[str, set[str]] = {}
    for a, b in pairs:
        arrows.setdefault(a, set()).add(b)
    return arrows


def floor(file: str) -> int:
    """The floor of a file: 0 for the ground; raises ValueError for a room or file that is on no floor."""
    first = Path(file).parts[0]
    if first.endswith(".py"):
        name = first.removesuffix(".py")
        if name in API:
            return len(FLOORS) + 1
        if name in GROUND:
            return 0
        raise ValueError(f"{file} is on no floor: give it a room, or add it to GROUND in tests/structure.py")
    if first not in FLOORS:
        raise ValueError(f"{first}/ is on no floor: add it to FLOORS in tests/structure.py")
    return FLOORS.index(first) + 1


def upward(src: Path = SRC) -> list[Import]:
    """Imports of a file by one on a lower floor."""
    return [one for one in all_imports(src)[0] if floor(one.importer) < floor(one.imported)]


def is_pure(file: str) -> bool:
    """Whether a file is one of PURE or in a folder of it."""
    return file not in NOT_PURE and any(file == one or file.startswith(f"{one}/") for one in PURE)


def impure(src: Path = SRC) -> list[str]:
    """Imports in pure files of what is neither mathematics nor pure, as text."""
    own, foreign = all_imports(src)
    wrong = [f"{one.importer}:{one.line} imports {one.imported}" for one in own
             if is_pure(one.importer) and not is_pure(one.imported)]  # fmt: skip
    allowed = MATHEMATICS | sys.stdlib_module_names
    wrong += [f"{one.importer}:{one.line} imports {one.module}" for one in foreign
              if is_pure(one.importer) and one.module not in allowed]  # fmt: skip
    return sorted(wrong)


def long_first_lines(src: Path = SRC, most: int = 99) -> list[str]:
    """Docstrings (of attributes, too) whose first line has more than ``most`` characters, as ``file:line``."""
    wrong = []
    for file in files(src):
        for node in ast.walk(tree(src / file)):
            body = getattr(node, "body", None)
            for one in body if isinstance(body, list) else []:
                if isinstance(one, ast.Expr) and isinstance(one.value, ast.Constant):
                    first = str(one.value.value).strip().partition("\n")[0]
                    wrong += [f"{file}:{one.lineno}"] if len(first) > most else []
    return wrong


def test_of(file: str) -> str:
    """Where the tests of a file of the package are: ``a/b.py`` in ``a/test_b.py``, a package's in ``a/b/test_b.py``."""
    path = Path(file)
    name = path.parent.name if path.name == "__init__.py" else path.stem
    return (path.parent / f"test_{name}.py").as_posix()


def untested(src: Path = SRC, tests: Path = ROOT / "tests") -> list[str]:
    """Files of the package that have no test file and no reason for that; reasons for files that have one, or are gone."""
    wrong = []
    for file in files(src):
        excused = any(fnmatch(file, pattern) for pattern in NOTHING_TO_TEST)
        if Path(file).name != "__init__.py" and (tests / test_of(file)).is_file() == excused:
            wrong.append(f"{file} has a reason and a test" if excused else f"{file} has no {test_of(file)}")
    gone = [one for one in NOTHING_TO_TEST if not any(fnmatch(file, one) for file in files(src))]
    return wrong + [f"{one} is in NOTHING_TO_TEST and gone" for one in gone]


def misplaced(src: Path = SRC, tests: Path = ROOT / "tests") -> list[str]:
    """Test files that are in the place of no file of the package, and are not of several; entries of those that are gone."""
    held = [path.relative_to(tests).as_posix() for path in sorted(tests.rglob("test_*.py"))]
    places = {test_of(file) for file in files(src)}
    wrong = [
        f"{test} is the test of no file"
        for test in held
        if test not in places and not any(fnmatch(test, pattern) for pattern in OF_SEVERAL_FILES)
    ]
    gone = [one for one in OF_SEVERAL_FILES if not any(fnmatch(test, one) for test in held)]
    return wrong + [f"{one} is in OF_SEVERAL_FILES and gone" for one in gone]


def pure_modules() -> list[str]:
    """PURE as names of modules and packages."""
    return [".".join(["fusionchat", *Path(one).with_suffix("").parts]) for one in PURE]


def hidden_statements(src: Path = SRC) -> int:
    """How many import statements are inside functions, of whatever module."""
    return sum(
        isinstance(inner, ast.Import | ast.ImportFrom)
        for file in files(src)
        for function in functions(tree(src / file))
        for inner in ast.walk(function)
    )


def functions(node: ast.AST) -> Iterator[ast.AST]:
    """The functions below a node that are in no other function."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            yield child
        else:
            yield from functions(child)


def mypy_modules() -> list[str]:
    """PURE as mypy's overrides name modules: a folder with everything in it."""
    return [
        name if one.endswith(".py") else f"{name}.*" for one, name in zip(PURE, pure_modules(), strict=True)
    ]
