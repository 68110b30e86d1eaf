"""The house rules: imports point down, the docs' addresses exist, no pickle, no long line.

    python -m pytest -q tests/test_structure.py
"""

import ast
import importlib
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FLOOR = {4: "prepare report study claims guarantees trusted trusted_report pool miniature "
            "attacks experiment phases frontier", 3: "tasks",
         2: "fit predict lm step dp bookkeeping rows runs splits text hub perturb mail canaries "
             "grpo noise trust questions freetext chess answers selection rivals vocabulary "
             "recipes leaks card",
         1: "pythia losses metrics accountant statistics figures page config device lora ntf "
            "parallel paper whatis"}
FLOOR = {name: floor for floor, names in FLOOR.items() for name in names.split()}
PAIRS = (("report", "study"), ("frontier", "study"), ("report", "frontier"),
         ("experiment", "pool"), ("experiment", "phases"), ("claims", "study"),
         ("report", "claims"), ("report", "guarantees"),
         ("trusted", "study"), ("trusted", "claims"), ("report", "trusted"),
         ("trusted_report", "trusted"), ("trusted_report", "study"), ("trusted_report", "claims"),
         ("report", "trusted_report"),
         ("attacks", "attacks"))
SCRIPTS = ("train_weak", "label", "train_student", "train_ntf", "evaluate")
FILES = sorted([*ROOT.glob("*.py"), *ROOT.glob("w2s/**/*.py")])
TESTS = sorted(ROOT.glob("tests/**/*.py"))


def imported(path):
    """Names of our modules that a file imports, at any depth."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "w2s":
            parts = node.module.split(".")[1:]
            yield from parts[:1] or [alias.name for alias in node.names]
        elif isinstance(node, ast.Import):
            yield from (a.name.split(".")[1] for a in node.names if a.name.startswith("w2s."))


def floor_of(path):
    relative = path.relative_to(ROOT)
    if relative.parts[0] != "w2s":
        return 4
    packages = {"tasks", "miniature", "attacks"}.intersection(relative.parts)
    return FLOOR.get(packages.pop() if packages else relative.stem)


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_point_down(path):
    floor = floor_of(path)
    if path.stem == "__init__":
        return
    assert floor, f"{path.name} has no floor in this test"
    for name in imported(path):
        assert name in FLOOR, f"{path.name} imports {name}, which has no floor"
        level = floor == 2 == FLOOR[name] or name in path.parts or (
            path.stem, name) in PAIRS
        assert FLOOR[name] < floor or level, f"{path.name} imports {name}"
        assert not (floor == 3 and name == "tasks"), f"{path.name} imports another task"


def test_no_cycle_on_floor_2():
    graph = {p.stem: {n for n in imported(p) if FLOOR[n] == 2} for p in FILES if floor_of(p) == 2}

    def below(name, seen=()):
        assert name not in seen, f"cycle {seen}"
        for other in graph[name]:
            below(other, (*seen, name))
    for name in graph:
        below(name)


def equations():
    """(equation numbers, address) of the README's equation table."""
    for line in (ROOT / "README.md").read_text().splitlines():
        if re.match(r"\| \(\d", line):
            left, right = line.strip("| ").split("|")
            for address in re.findall(r"`([\w/.]+)`", right):
                yield re.findall(r"\((\d+)\)", left), address


def find(address):
    *module, name = address.replace("/", ".").split(".")
    prefix = "" if ".".join(module) in SCRIPTS else "w2s."
    return getattr(importlib.import_module(prefix + ".".join(module)), name)


@pytest.mark.parametrize("numbers, address", list(equations()))
def test_equation_table_and_docstrings_agree(numbers, address):
    doc = find(address).__doc__
    if address in ("losses.wts_aux", "metrics.demographic_parity") or address.startswith("tasks/"):
        assert doc.startswith("Eq"), address
        assert all(f"({n})" in doc for n in numbers), address


def test_every_address_in_the_deviations_exists():
    text = (ROOT / "docs/deviations.md").read_text()
    addresses = re.findall(r"`((?:tasks/)?[a-z_]+\.[A-Za-z_]+)`$", text, re.M)
    assert len(addresses) == len(re.findall(r"^### [EFAOPT]\d+: ", text, re.M)) > 60
    for address in addresses:
        find(address)


@pytest.mark.parametrize("path", FILES + TESTS, ids=lambda p: str(p.relative_to(ROOT)))
def test_house_style(path):
    text = path.read_text(encoding="utf-8")
    long = [n for n, line in enumerate(text.split("\n"), 1) if len(line) > 100
            and not (path.parent.name == "mutants" and path.stem[0] != "_")]  # tables
    assert not long, f"{path.name}: more than 100 characters in lines {long}"
    assert not re.search(r"torch\.load\(|^\s*(import|from) pickle", text, re.M)
    tree = ast.parse(text)
    assert ast.get_docstring(tree) or path.stem == "__init__", f"{path.name} has no docstring"
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node.name != "main":
            assert node.end_lineno - node.lineno < 80, f"{node.name} is too long"


def test_every_reading_that_the_code_cites_is_among_the_deviations():
    code = r"\b[EFAOPT]\d+\b"
    known = set(re.findall(r"^### ([EFAOPT]\d+): ", (ROOT / "docs/deviations.md").read_text(),
                           re.M))
    groups = [group for path in FILES
              for group in re.findall(r"[Rr]eadings? ([EFAOPT]\d[^).;:]*)", path.read_text())]
    cited = {found for group in groups for found in re.findall(code, group)}
    assert len(cited) > 15 and cited <= known, cited - known
