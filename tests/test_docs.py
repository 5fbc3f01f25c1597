"""Pages that are made from the code are up to date."""

import importlib.util
import re
import sys
import types

import jinja2
import pytest

from fusionchat.merge.methods import NAMES
from fusionchat.recipe.schema import validate_recipe
from fusionchat.yaml import parse_yaml
from tests.shared import ROOT
from tests.tiny import SETTINGS


def script(name):
    """A script of docs/ as a module."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "docs" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_table_of_merge_methods_is_up_to_date():
    module = script("make_merge_table")
    written = module.PAGE.read_text()
    assert module.page(written) == written, "run: python docs/make_merge_table.py"
    rows = [line.split(" | ") for line in module.table().splitlines()[2:]]
    assert [row[0].strip("|` ") for row in rows] == list(NAMES)
    assert all(len(row) == 5 and row[1] and "arXiv" not in row[1] for row in rows)
    assert (
        "`density` (0.2)" in written
        and "| 2 or more |" in written
        and "](https://arxiv.org/abs/2306.01708)" in written
    )


def test_the_example_of_a_merge_method_merges():
    """What README.md of merge/methods/ shows, both of it: the method runs through the engine, and its test passes."""
    blocks = re.findall(
        r"```python\n(.*?)```", (ROOT / "src/fusionchat/merge/methods/README.md").read_text(), re.S
    )
    method, test = blocks
    assert method.count("\n") <= 50
    module = types.ModuleType("fusionchat.merge.methods.outliers")
    exec(method, vars(module))
    sys.modules[module.__name__] = module
    try:
        held = {}
        exec(test, held)
        held["test_outliers"]()
    finally:
        del sys.modules[module.__name__]


def test_the_recipe_page_is_up_to_date():
    module = script("make_recipe_page")
    written = (ROOT / "docs" / "recipe.md").read_text()
    assert module.page() == written, "run: python docs/make_recipe_page.py"
    headings = [line for line in written.splitlines() if line.startswith("#")]
    assert len(headings) == len(set(headings))
    lists = [line for line in written.splitlines() if line.startswith(("| `candidates`", "| `merges`"))]
    assert len(lists) == 2 and all("| list, each as under `merge` |" in line for line in lists)


def test_the_template_of_story_models_ends_texts_and_leaves_what_a_user_begins_open():
    template = jinja2.Template((ROOT / "recipes/templates/plain.jinja").read_text())
    seen = [
        template.render(messages=[{"role": role, "content": "Once"}], bos_token="<s>", eos_token="</s>")
        for role in ("assistant", "user")
    ]
    assert seen == ["<s>Once</s>", "<s>Once"]


def test_tests_that_pages_name_are_there():
    held: dict[str, str] = {}
    for path in (ROOT / "tests").rglob("test_*.py"):
        held[path.name] = held.get(path.name, "") + path.read_text()
    for page in (ROOT / "docs").rglob("*.md"):
        for file, name in re.findall(r"(test_\w+\.py)(?:::(\w+))?", page.read_text()):
            assert file in held, f"{page.name}: there is no {file}"
            assert not name or f"def {name}(" in held[file], f"{page.name}: {file} has no {name}"


@pytest.mark.parametrize("page", ["training.md"])
def test_recipes_on_pages_are_valid(page):
    blocks = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs" / page).read_text(), flags=re.DOTALL)
    assert blocks
    for block in blocks:
        validate_recipe(SETTINGS | parse_yaml(block, name=page), name=page, folder=".")
