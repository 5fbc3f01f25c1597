"""While tests run, calls of pure functions are checked: arguments and results as their signatures say."""

import ast

from jaxtyping import _import_hook as hook

from tests.structure import pure_modules

NOT_CHECKED = ("no_type_check", "njit", "compiled", "exact")
"""Decorators of functions that are left alone: numba compiles a function's own code, and cannot compile a check
around it. The last two are those of merge/kernels/compiled.py."""

# The tower: an int is a float, as for mypy. Python keeps a module's bytecode under this text, so what is left alone
# is part of it.
CHECKER = f"beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True or {NOT_CHECKED}))"


def check_shapes() -> None:
    """Check the calls of every function of a pure file that is imported from now on."""
    hook._is_no_type_check = is_not_checked
    hook.install_import_hook(pure_modules(), CHECKER)


def is_not_checked(decorator: ast.expr) -> bool:
    """Whether a function or class with this decorator is left alone."""
    function = decorator.func if isinstance(decorator, ast.Call) else decorator
    return getattr(function, "attr", getattr(function, "id", "")) in NOT_CHECKED
