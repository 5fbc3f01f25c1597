"""How the house is built, in figures: ``python -m benchmarks.house``. The last line is JSON."""

import ast
import json
import re
import subprocess
import sys
from pathlib import Path
from statistics import median
from typing import NamedTuple

from tests.structure import (
    ROOT,
    SRC,
    file_circles,
    files,
    hidden_statements,
    long_first_lines,
    room_circles,
    upward,
)

TOYS = ("merge_method", "fusion_rule", "metric", "capture", "format")
HEAVY = ("torch", "transformers", "numba", "matplotlib")


class Code(NamedTuple):
    """Lines and statements of some files, and the statements of each of their functions."""

    lines: int
    statements: int
    functions: list[int]


def measure() -> dict[str, object]:
    """The figures: see the last line's keys."""
    src, merge = code(files()), code([file for file in files() if file.startswith("merge/")])
    lengths = sorted(src.functions)
    return {
        "circles": len(file_circles()) + sum(len(found) for found in room_circles().values()),
        "upward": len({(one.importer, one.imported) for one in upward()}),
        "hidden_imports": hidden_statements(),
        "files_touched": {toy: files_touched(ROOT / "tests" / "toys" / f"{toy}.patch") for toy in TOYS},
        "lines": {"src": src.lines, "merge": merge.lines},
        "statements": {"src": src.statements, "merge": merge.statements},
        "positional_over_5": positional_over(5),
        "long_first_lines": len(long_first_lines()),
        "merge_methods": merge_methods(),
        "functions": {
            "median": median(lengths),
            "p90": lengths[int(0.9 * (len(lengths) - 1))],
            "max": lengths[-1],
        },
        "heavy_imports": len(heavy_imports()),
    }


def code(names: list[str] | tuple[str, ...], src: Path = SRC) -> Code:
    """Lines, statements and lengths of functions; docstrings are no statements, and a function's own are all below it."""
    lines, statements, functions = 0, 0, list[int]()
    for name in names:
        text = (src / name).read_text(encoding="utf-8")
        tree = ast.parse(text)
        lines, statements = lines + text.count("\n"), statements + count_statements(tree)
        functions += [
            count_statements(node)
            for node in ast.walk(tree)
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        ]
    return Code(lines, statements, functions)


def count_statements(node: ast.AST) -> int:
    """Statements below a node, without docstrings and other bare strings."""
    return sum(
        isinstance(one, ast.stmt) and not (isinstance(one, ast.Expr) and isinstance(one.value, ast.Constant))
        for one in ast.walk(node)
        if one is not node
    )


def files_touched(patch: Path) -> int | None:
    """How many files a patch changes or makes, None where there is no such patch."""
    if not patch.is_file():
        return None
    lines = patch.read_text(encoding="utf-8").split("\n")
    return len({line.split()[-1] for line in lines if line.startswith("diff --git ")})


def positional_over(most: int, src: Path = SRC) -> int:
    """How many functions take more than ``most`` arguments by position, self and cls not counted."""
    found = 0
    for name in files(src):
        for node in ast.walk(ast.parse((src / name).read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                given = [one.arg for one in (*node.args.posonlyargs, *node.args.args)]
                found += len(given) - (given[:1] in (["self"], ["cls"])) > most
    return found


def merge_methods(folder: Path = SRC / "merge" / "methods") -> dict[str, int]:
    """The lines of every merge method's class by the method's name, docstrings and blank lines not counted."""
    found = {}
    for path in sorted(folder.glob("*.py")):
        text = path.read_text(encoding="utf-8")
        for node in ast.parse(text).body:
            name = re.search(r'method: Literal\["(\w+)"\]', ast.unparse(node).replace("'", '"'))
            if isinstance(node, ast.ClassDef) and name:
                found[name[1]] = len(written(node))
    return dict(sorted(found.items()))


def written(node: ast.AST) -> list[str]:
    """The lines of a node as they would be written without docstrings and comments."""
    for one in ast.walk(node):
        if isinstance(one, ast.ClassDef | ast.FunctionDef) and ast.get_docstring(one) and len(one.body) > 1:
            del one.body[0]
    return [line for line in ast.unparse(node).splitlines() if line]


def heavy_imports() -> list[str]:
    """The heavy packages that reading a recipe loads, in a process of its own."""
    code = (
        "import sys\nfrom fusionchat.recipe.schema import load_recipe\n"
        "load_recipe(sys.argv[1])\nprint(*sorted(set(sys.argv[2:]) & set(sys.modules)))"
    )
    recipe = ROOT / "recipes" / "paper_7b.yaml"
    command = [sys.executable, "-c", code, str(recipe), *HEAVY]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()


def main() -> None:
    """Print a table, then the figures as JSON."""
    figures = measure()
    for key, value in figures.items():
        inner = value.items() if isinstance(value, dict) else [("", value)]
        for name, figure in inner:
            print(f"{key:16} {name:14} {'-' if figure is None else figure}")
    print("functions: in statements, docstrings not counted")
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
