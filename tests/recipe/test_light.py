"""Reading a recipe starts at once."""

import subprocess
import sys

HEAVY = ("torch", "transformers", "numba", "matplotlib")


def test_the_recipe_s_room_loads_nothing_heavy():
    code = (
        "import pkgutil, sys, fusionchat.recipe as room\n"
        "for part in pkgutil.iter_modules(room.__path__, 'fusionchat.recipe.'):\n    __import__(part.name)\n"
        f"print('fusionchat.recipe.schema' in sys.modules, [name for name in {HEAVY} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "True []\n"
