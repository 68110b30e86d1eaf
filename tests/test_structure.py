"""The house rules: imports point down, the docs' addresses exist, no pickle, no long line.

    python -m pytest -q tests/test_structure.py
"""

import ast
import graphlib
import importlib
import io
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from pyflakes import api, reporter

from w2s import config, recipes

ROOT = Path(__file__).parent.parent
CHAPTERS = ("memory cards whatis rows hidden_states hub locks code console runs config device "
            "parallel metrics statistics",
            "model", "data", "train", "dp", "infer", "trust", "tasks", "attacks", "report",
            "model_card refusals training planted prepare mechanisms recipes durations progress "
            "cost worker scheduler slurm commands launch preflight trust_phases phases experiment",
            "sweep", "miniature")
ORDER = {name: place for place, names in enumerate(CHAPTERS) for name in names.split()}
SCRIPTS = ("train_weak", "label", "train_student", "train_ntf", "evaluate")
FILES = sorted([*ROOT.glob("*.py"), *ROOT.glob("w2s/**/*.py")])
TESTS = sorted(ROOT.glob("tests/**/*.py"))


def imported(path):
    """(chapter, module) of ours that a file imports, at any depth; ("rows", "rows") of a file."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "w2s":
            parts = node.module.split(".")[1:]
            for name in [alias.name for alias in node.names] if len(parts) < 2 else [parts[1]]:
                yield (parts[0], name) if parts and parts[0] != name else (name, name)
        elif isinstance(node, ast.Import):
            for parts in (a.name.split(".") for a in node.names if a.name.startswith("w2s.")):
                yield parts[1], parts[-1]


MODULES = [path for path in FILES if path.parent != ROOT and path.stem != "__init__"]


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_a_chapter_imports_chapters_before_it(path):
    own = path.relative_to(ROOT / "w2s").with_suffix("").parts[0]
    for chapter, name in imported(path):
        assert ORDER[chapter] <= ORDER[own], f"{path} imports {chapter}.{name}"
        assert not own == chapter == "tasks", f"{path} imports another task"


def test_no_module_imports_itself_by_way_of_others():
    names = {path.relative_to(ROOT / "w2s").with_suffix("").parts for path in MODULES}
    graph = {"/".join(parts): set() for parts in names}
    for path in MODULES:
        own = "/".join(path.relative_to(ROOT / "w2s").with_suffix("").parts)
        for chapter, name in imported(path):
            graph[own] |= {f"{chapter}/{name}", chapter} & graph.keys()
    graphlib.TopologicalSorter(graph).prepare()  # CycleError names the cycle


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
    if address.startswith(("train/losses.wts_aux", "metrics.demographic_parity", "tasks/")):
        assert doc.startswith("Eq"), address
        assert all(f"({n})" in doc for n in numbers), address


def test_every_address_in_the_deviations_exists():
    text = (ROOT / "docs/deviations.md").read_text()
    addresses = re.findall(r"`((?:[a-z_]+/)?[a-z_]+\.[A-Za-z_]+)`$", text, re.M)
    assert len(addresses) == len(re.findall(r"^### [EFAOPT]\d+: ", text, re.M)) > 60
    for address in addresses:
        find(address)


PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])


@pytest.mark.parametrize("path", [*FILES, *TESTS], ids=lambda path: str(path.relative_to(ROOT)))
def test_no_name_is_undefined(path):
    """One in a rare branch would show only there."""
    said = io.StringIO()
    api.check(path.read_text(encoding="utf-8"), path.name, reporter.Reporter(said, said))
    assert "undefined name" not in said.getvalue(), said.getvalue()


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_links_of_the_pages_lead_somewhere(page):
    links = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text())
    for link in links:
        assert link.startswith("https://") or (page.parent / link).exists(), link
    assert len(links) > 5 or page.name != "README.md"


def commands(text):
    """The words behind `python` of the commands in a page, lines that end in a backslash joined."""
    for line in text.replace("\\\n", " ").splitlines():
        if re.match(r" {4,}python (-m w2s\.(prepare|report|mechanisms)|\w+\.py) ", line):
            yield shlex.split(line, comments=True)[1:]


@pytest.mark.parametrize("page", [ROOT / "README.md", ROOT / "docs/by_hand.md",
                                  ROOT / "docs/mechanisms.md"],
                         ids=lambda p: p.name)
def test_commands_of_the_pages_are_understood(page):
    every = list(commands(page.read_text()))
    assert len(every) > 5
    for words in every:
        script = words[1] if words[0] == "-m" else words[0]
        rest = words[2:] if words[0] == "-m" else words[1:]
        if script in ("attacks.py", "w2s.prepare"):
            script, rest = f"{script} {rest[0]}", rest[1:]
        config.parse(recipes.configuration(script), "", rest)  # exits for an unknown flag


def test_the_readme_is_short():
    assert 9_000 < (ROOT / "README.md").stat().st_size < 10_240


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
            most = 50 if path in FILES else 80
            assert node.end_lineno - node.lineno < most, f"{node.name} is too long"
    assert text.count("\n") <= 400 or path not in FILES, f"{path.name}: more than 400 lines"


ODD = re.compile(r"(?<!`)\bmails\b(?! *mails\.|\.jsonl|/)|\b(an?|one|two) mails?\b|by lot\b|"
                 r"not prepared|(is|are) legal\b")  # English that readers stumbled over


def test_readers_meet_plain_english():
    """In docs and in what the code prints: docstrings are --help."""
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            text = node.value if isinstance(node, ast.Constant) else ""
            odd = isinstance(text, str) and text != "mails" and ODD.search(text)
            assert not odd, (path, odd)
    for path in (ROOT / "README.md", *ROOT.glob("docs/*.md"), *ROOT.glob("recipes/*.txt")):
        assert not (found := ODD.search(path.read_text(encoding="utf-8"))), (path, found)


def test_every_reading_that_the_code_cites_is_among_the_deviations():
    code = r"\b[EFAOPT]\d+\b"
    known = set(re.findall(r"^### ([EFAOPT]\d+): ", (ROOT / "docs/deviations.md").read_text(),
                           re.M))
    groups = [group for path in FILES
              for group in re.findall(r"[Rr]eadings? ([EFAOPT]\d[^).;:]*)", path.read_text())]
    cited = {found for group in groups for found in re.findall(code, group)}
    assert len(cited) > 15 and cited <= known, cited - known


def test_names_from_before_the_chapters_import_the_module_of_today():
    import w2s
    for old, new in w2s.MOVED.items():
        module = importlib.import_module(f"w2s.{old}")
        assert module is importlib.import_module(f"w2s.{new}")
        assert module.__spec__.name == module.__name__ == f"w2s.{new}"
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("w2s.nothing")
    help = subprocess.run([sys.executable, "-m", "w2s.pool", "--help"], cwd=ROOT, text=True,
                          capture_output=True, check=True).stdout
    assert "python -m w2s.scheduler" in help


@pytest.mark.parametrize("package, names", [
    ("model", "load save generate GPTNeoX untrained SHAPES"), ("report", "main"),
    ("dp", "private_gradient add_noise func_sum fast_sum Plan make_step batches micro_batches")])
def test_chapters_give_what_others_call(package, names):
    module = importlib.import_module(f"w2s.{package}")
    for name in names.split():
        assert callable(getattr(module, name)) or name == "SHAPES"
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        module.nothing
