"""Pages that are made from the code are up to date."""

import importlib.util

from tests.shared import ROOT


def test_the_recipe_page_is_up_to_date():
    spec = importlib.util.spec_from_file_location("page", ROOT / "docs" / "make_recipe_page.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    written = (ROOT / "docs" / "recipe.md").read_text()
    assert module.page() == written, "run: python docs/make_recipe_page.py"
