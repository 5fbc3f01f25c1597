"""The argument and the option that all verbs with a recipe share."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

Command = Callable[..., Any]


def with_recipe(command: Command) -> Command:
    """The argument and option that all recipe verbs share."""
    command = click.option(
        "--set",
        "settings",
        multiple=True,
        metavar="PATH.TO.KEY=VALUE",
        help="Override a setting; can be repeated.",
    )(command)
    return click.argument("recipe", type=click.Path(path_type=Path))(command)
