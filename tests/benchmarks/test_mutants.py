"""benchmarks.mutants: every mutant still has its place in the code and its tests; running them all is the benchmark's work."""

import ast

import pytest
from benchmarks.mutant_list import MUTANTS, Mutant
from benchmarks.mutants import SRC, Verdict, judge, mutated, page

from tests.shared import ROOT


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda one: f"{one.file}:{one.old}")
def test_a_mutant_s_place_is_found_once_and_gives_another_program(mutant):
    text = (SRC / mutant.file).read_text(encoding="utf-8")
    assert ast.dump(ast.parse(mutated(text, mutant))) != ast.dump(ast.parse(text))


@pytest.mark.parametrize("name", sorted({test for mutant in MUTANTS for test in mutant.tests}))
def test_the_tests_that_should_notice_exist(name):
    file, _, function = name.partition("::")
    assert f"def {function}" in (ROOT / "tests" / file).read_text(encoding="utf-8")


def test_a_place_that_is_gone_or_not_unique_is_an_error():
    mutant = Mutant("sign", "a.py", "x + y", "x - y", ())
    assert mutated("z = x + y\n", mutant) == "z = x - y\n"
    for text in ("z = y + x\n", "z = x + y + x + y\n"):
        with pytest.raises(ValueError, match=r"a\.py has"):
            mutated(text, mutant)


def test_a_verdict_names_the_test_that_failed():
    output = "...\nFAILED tests/a/test_b.py::test_c[1-x] - assert 1 == 2\n1 failed"
    assert judge(1, output) == Verdict(True, "a/test_b.py::test_c", "assert 1 == 2")
    assert judge(0, "3 passed") == Verdict(False)
    with pytest.raises(RuntimeError, match="pytest ended with 4"):
        judge(4, "no tests ran")


def test_a_survivor_is_marked_on_the_page():
    mutant = Mutant("sign", "a.py", "x | y", "x - y", ())
    text = page([(mutant, Verdict(True, "test_b.py::test_c")), (mutant, Verdict(False))])
    assert "| sign | `a.py` | `x \\| y` | `x - y` | `test_b.py::test_c` |" in text
    assert "1 are caught" in text and "| **survives** |" in text
