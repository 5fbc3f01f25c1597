"""Pages that are made from the code are up to date."""

import importlib.util

import jinja2

from tests.shared import ROOT


def test_the_recipe_page_is_up_to_date():
    spec = importlib.util.spec_from_file_location("page", ROOT / "docs" / "make_recipe_page.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
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
