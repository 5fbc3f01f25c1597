"""What verbs with a recipe share."""

from pathlib import Path

import click
from click.testing import CliRunner

from fusionchat.cli.options import with_recipe


@click.command()
@with_recipe
def verb(recipe, settings):
    click.echo((recipe == Path("r.yaml"), settings))


def test_a_recipe_is_a_path_and_settings_keep_their_order():
    done = CliRunner().invoke(verb, ["r.yaml", "--set", "b.c=1", "--set", "a=2"])
    assert done.output.strip() == "(True, ('b.c=1', 'a=2'))"
    without = CliRunner().invoke(verb, [])
    assert without.exit_code == 2 and "Missing argument 'RECIPE'" in without.output
