"""tests/test_cuda.py on the real card; the tests of graphs, which compile, come last."""

import re
import subprocess
import sys

from tests.bench import machine

WORDS = [sys.executable, "-m", "pytest", "-v", "-p", "no:cacheprovider", "-p", "no:randomly",
         "tests/test_cuda.py", "-k"]
ENDED = re.compile(r"tests/test_cuda\.py::(\S+) (PASSED|FAILED|ERROR|SKIPPED)")


def run(rec):
    for some in (["gathered and pretended"] if rec.pretended else
                 ["real and not graph", "real and graph"]):
        with rec.piece(f"pytest -k '{some}'"):
            passed = 0
            with subprocess.Popen([*WORDS, some], cwd=machine.ROOT, text=True,
                                  stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
                for line in process.stdout:     # noted one by one: the next may hang
                    print(line, end="")
                    if found := ENDED.match(line):
                        passed += found[2] == "PASSED"
                        rec.check(found[1], int(found[2] == "PASSED"), low=1, hard=True)
            rec.check(f"tests that passed, -k '{some}'", passed, low=1, hard=True)
