"""The tables of tests/mutants fit the code as it is: every text stands once, every test is there.
What the tests notice of them is asked by `python -m tests.mutants`.

    python -m pytest -q tests/test_mutants.py
"""

import pytest

from tests.mutants.__main__ import Error, table, wrong


def test_the_tables_fit_the_code():
    errors = table()
    assert not [line for error in errors if (line := wrong(error, parse=False))]
    assert len({(error.file, error.old, error.new) for error in errors}) == len(errors)


@pytest.mark.parametrize("error, said", [
    (Error("a.py", "x = 1", "x = 2", "test_a.py::test_x"), "stands 2 times"),
    (Error("a.py", "y = 1", "y = (", "test_a.py::test_x"), "was never closed"),
    (Error("a.py", "y = 1", "y = 1", "test_a.py::test_x"), "is no error"),
    (Error("a.py", "y = 1", "y = 2", "test_a.py::test_y"), "no such test"),
    (Error("b.py", "y = 1", "y = 2", "test_a.py::test_x"), "No such file"),
    (Error("a.py", "y = 1", "y = 2", "test_a.py::test_x[3]"), None)])
def test_a_line_that_does_not_fit_is_named(error, said, tmp_path):
    (tmp_path / "tests").mkdir()
    (tmp_path / "a.py").write_text("x = 1\nx = 1\ny = 1\n")
    (tmp_path / "tests" / "test_a.py").write_text("def test_x(n):\n    pass\n")
    found = wrong(error, tmp_path)
    assert found is None if said is None else said in found
