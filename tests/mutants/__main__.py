"""Would a test notice? Errors that someone could make, put into the code one at a time.

    python -m tests.mutants                   all of them: half an hour on two cores
    python -m tests.mutants --changed         of the files that differ from HEAD, and of their tests
    python -m tests.mutants --changed main~3  from another commit
    python -m tests.mutants losses dp         of files and tests with one of these in their path

The errors stand in the tables beside this file: ERRORS = [(file, text, text in its place, the test
that must fail, reason)]; a reason says why no test can see it, where none can. Each is put into a
copy of the project, in a process forked from one that has imported the packages already.
"""

import argparse
import ast
import contextlib
import importlib
import multiprocessing
import os
import pkgutil
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
PARTS = ("*.py", "*.sh", "*.md", "*.txt", "*.toml", "*.cff", "w2s", "tests", "recipes", "docs",
         ".ci")
SECONDS = 120  # a test that takes longer has noticed
COPY = None    # of the project, each worker's own


class Error(NamedTuple):
    """One plausible error. test: "train/test_losses.py::test_name", below tests/."""
    file: str
    old: str
    new: str
    test: str
    reason: str = ""

    def spoilt(self, text):
        """The file's text with the error. Raises ValueError where the old text is not just once."""
        if text.count(self.old) != 1:
            raise ValueError(f"{self.file}: {self.old!r} stands {text.count(self.old)} times")
        return text.replace(self.old, self.new)


def table():
    """All errors, of all the tables, in order."""
    here = importlib.import_module("tests.mutants")
    names = sorted(m.name for m in pkgutil.iter_modules(here.__path__) if m.name[0] != "_")
    return [Error(*error) for name in names
            for error in importlib.import_module(f"tests.mutants.{name}").ERRORS]


def wrong(error, root=ROOT, parse=True):
    """What is wrong with a line of the table, before anything is run; None: nothing. parse: is what
    stands there then Python (milliseconds for each)?"""
    name = error.test.split("::")[1].split("[")[0] if "::" in error.test else "?"
    try:
        text = error.spoilt((root / error.file).read_text())
        if parse and error.file.endswith(".py"):
            ast.parse(text)
        if f"def {name}(" not in (root / "tests" / error.test.split("::")[0]).read_text():
            return f"tests/{error.test}: no such test"
    except (OSError, ValueError, SyntaxError) as problem:
        return f"{error.file}: {problem}"
    return f"{error.file}: {error.old!r} is no error" if error.old == error.new else None


def copied(folder):
    """A copy of the project without what is not its own."""
    for path in (path for pattern in PARTS for path in ROOT.glob(pattern)):
        if path.is_dir():
            shutil.copytree(path, folder / path.name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(path, folder)
    return folder


def run(folder, tests, seconds=SECONDS):
    """(exit code of pytest, its output) of tests of the copy, in a forked process; -1: too long."""
    out = folder / "out.txt"
    child = os.fork()
    if not child:
        os.setsid()
        with open(out, "w") as file:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
        os.chdir(folder)
        sys.path[:] = [str(folder)] + [path for path in sys.path if Path(path or ".") != ROOT]
        for name in [name for name in sys.modules if name.split(".")[0] in ("tests", "w2s")]:
            del sys.modules[name]
        import pytest
        code = 3
        with contextlib.suppress(BaseException):
            code = int(pytest.main(["-q", "-x", "-p", "no:cacheprovider", "--tb=line",
                                    *(f"tests/{test}" for test in tests)]))
        sys.stdout.flush()
        os._exit(code)
    end = time.time() + seconds
    while time.time() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status), out.read_text(errors="replace")
        time.sleep(.05)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return -1, out.read_text(errors="replace")


def begin(place):
    """Make this worker's copy of the project."""
    globals()["COPY"] = copied(Path(tempfile.mkdtemp(dir=place)))


def clean(tests):
    """(exit code, output) of the tests without an error."""
    return run(COPY, tests, 60 * SECONDS)


def verdict(error):
    """"caught", "not caught" or what went wrong when the error's test ran with the error."""
    path = COPY / error.file
    good = path.read_text()
    path.write_text(error.spoilt(good))
    try:
        code, out = run(COPY, [error.test])
    finally:
        path.write_text(good)
    last = (out.strip().splitlines() or [""])[-1]
    known = {1: "caught", -1: "caught", 0: "not caught"}
    return known.get(code, f"pytest ended with {code}: {last}")


def changed(since):
    """Files that differ from a commit, and new ones."""
    asked = (["diff", "--name-only", since], ["ls-files", "--others", "--exclude-standard"])
    return {line for words in asked for line in subprocess.run(
        ["git", "-C", ROOT, *words], capture_output=True, text=True, check=True).stdout.split()}


def chosen(errors, args):
    """Those of the table that the arguments ask for."""
    if args.changed:
        touched = changed(args.changed)
        errors = [e for e in errors if {e.file, f"tests/{e.test.split('::')[0]}"} & touched]
    if args.words:
        errors = [e for e in errors if any(word in e.file + " " + e.test for word in args.words)]
    return errors


def main():
    flags = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__,
                                    formatter_class=argparse.RawDescriptionHelpFormatter)
    flags.add_argument("words", nargs="*", help="parts of paths of files or tests")
    flags.add_argument("--changed", nargs="?", const="HEAD", metavar="COMMIT")
    flags.add_argument("--jobs", type=int, default=os.cpu_count())
    args = flags.parse_args()
    errors = chosen(table(), args)
    if bad := [line for error in errors if (line := wrong(error))]:
        sys.exit("\n".join(["error: the table is wrong:", *bad]))
    if not errors:
        sys.exit("no error of the table is of these files")
    found = Counter(examined(errors, args.jobs))
    print(f"{found['caught']} of {len(errors)} errors caught, {found['explained']} explained")
    sys.exit(found["caught"] + found["explained"] < len(errors))


def examined(errors, jobs):
    """Yield "caught", "explained" or "missed" for each of the errors, and print what is missed.

    The workers are forked before tqdm is imported: its lock would be one for all processes, and a
    test that is killed while it holds it would stop all the others."""
    import numpy, pytest, safetensors, tokenizers, torch  # noqa: E401, F401
    torch.set_num_threads(1)
    fork = multiprocessing.get_context("fork")
    with tempfile.TemporaryDirectory(prefix="mutants-") as place, ProcessPoolExecutor(
            jobs, fork, begin, (place,)) as pool:
        code, out = pool.submit(clean, sorted({error.test for error in errors})).result()
        if code:
            sys.exit(f"error: a test fails without an error of the table\n{out}")
        verdicts = pool.map(verdict, errors)
        from tqdm import tqdm
        for error, said in zip(errors, tqdm(verdicts, total=len(errors))):
            explained = said == "not caught" and error.reason
            if said != "caught" and not explained:
                tqdm.write(f"{said}: {error.file}: {error.old!r} -> {error.new!r} ({error.test})")
            yield "explained" if explained else "caught" if said == "caught" else "missed"


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
