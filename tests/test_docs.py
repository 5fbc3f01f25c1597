"""Pages that are made from the code are up to date."""

import importlib.util
import re

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


def test_tests_that_pages_name_are_there():
    held: dict[str, str] = {}
    for path in (ROOT / "tests").rglob("test_*.py"):
        held[path.name] = held.get(path.name, "") + path.read_text()
    for page in (ROOT / "docs").rglob("*.md"):
        for file, name in re.findall(r"(test_\w+\.py)(?:::(\w+))?", page.read_text()):
            assert file in held, f"{page.name}: there is no {file}"
            assert not name or f"def {name}(" in held[file], f"{page.name}: {file} has no {name}"
