"""CPU threads: the wait policy is set before torch is loaded, small models get one thread."""

import os
import subprocess
import sys

import pytest

from fusionchat.threads import SMALL, pick_threads


def policy_of_help(environment):
    """The policy that the command line leaves behind, and whether torch was loaded before it was set."""
    code = (
        "import os, sys\n"
        "from fusionchat.cli.verbs import guarded\n"
        "assert 'torch' not in sys.modules\n"
        "guarded(['--help'])\n"
        "print(os.environ['OMP_WAIT_POLICY'], 'torch' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    return done.stdout.splitlines()[-1].split()


def test_the_command_line_sets_the_wait_policy_before_torch_and_keeps_the_users():
    plain = {k: v for k, v in os.environ.items() if k != "OMP_WAIT_POLICY"}
    assert policy_of_help(plain) == ["PASSIVE", "False"]
    assert policy_of_help(plain | {"OMP_WAIT_POLICY": "ACTIVE"}) == ["ACTIVE", "False"]


@pytest.mark.parametrize(
    ("wanted", "sizes", "right"),
    [
        (0, [491_000, 719_000], 1),
        (0, [491_000, SMALL], 0),
        (0, [491_000, None], 0),  # a model that is not here yet may be large
        (0, [], 0),
        (3, [491_000], 3),
        (3, [7_000_000_000], 3),
    ],
)
def test_one_thread_where_every_model_is_small_unless_the_recipe_says(wanted, sizes, right):
    assert pick_threads(wanted, sizes) == right


def test_a_job_s_threads_do_not_depend_on_the_job_before_it():
    code = (
        "import numba, torch\n"
        "from fusionchat.threads import set_threads\n"
        "print(torch.get_num_threads())\n"
        "for threads in (1, 0, 2, 3, 0):\n"
        "    set_threads(threads)\n"
        "    print(torch.get_num_threads(), numba.get_num_threads())"
    )
    environment = os.environ | {"NUMBA_NUM_THREADS": "4"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    first, *after = done.stdout.splitlines()
    assert after == ["1 1", f"{first} {first}", "2 2", "3 3", f"{first} {first}"]
