"""`python -m tests.bench.minutes`: what a log's commands took, and the products of one.

    python -m pytest -q tests/test_bench_minutes.py
"""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.bench import minutes

ROOT = Path(__file__).parents[1]
LOG = """[3/38] ood seed0: strong ceilings and weak models on ground truth  (0:04 so far)
  13/400  raw files                                      0:01  about 1:03:27 left
  14/400  ood seed0 ceiling-none                         0:07  about 14:41 left
  15/400  ood seed0 student-aux-none                     1:08  about 14:48 left
  16/400  ood seed1 student-naive-both-ntf             1:00:02  about 14:48 left
  17/400  privacy seed0 weak models extraction           0:09  about 14:48 left
  18/400  privacy seed0 lambdas                          0:02  about 14:48 left
  19/400  mcqa seed0 student-truth                       0:03  about 14:48 left
  20/400  report of ood                                  0:05  about 14:48 left
Yes in 0 of 3. Of 3 results that the paper has too, 2 agree, 1 differs.
"""


def test_commands_are_added_up_by_task_and_kind(capsys):
    spent = minutes.minutes(LOG.splitlines())
    assert spent == {("shared", "rows"): 1, ("ood", "ceilings, on ground truth"): 7,
                     ("ood", "students"): 68 + 3602, ("privacy", "attacks"): 9,
                     ("privacy", "measures"): 2, ("mcqa", "ceilings, on ground truth"): 3,
                     ("shared", "reports"): 5}
    minutes.show(spent)
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "| minutes of a core | mcqa | ood | privacy | shared | together | share |"
    assert said[2] == "| students |  | 61.2 |  |  | 61.2 | 99% |"


def test_the_lines_are_those_that_the_scheduler_prints():
    plan = "# phase\npython -m w2s.report --help  # ood seed0 weak-tft\n"
    done = subprocess.run([sys.executable, "-m", "w2s.scheduler", "--jobs", "1"], input=plan,
                          text=True, capture_output=True, check=True, cwd=ROOT)
    assert minutes.minutes(done.stdout.splitlines()).keys() == {("ood", "weak models")}


def test_products_of_a_command(tmp_path):
    script = tmp_path / "script.py"
    script.write_text("import pathlib, sys, torch\na = torch.ones(700, 700)\n"
                      "for _ in range(9): a @ a\n"
                      "pathlib.Path(sys.argv[2]).mkdir()\nsys.exit()\n")
    words = [sys.executable, "-m", "tests.bench.minutes", "products", script, "--out",
             tmp_path / "mine"]
    done = subprocess.run(words, capture_output=True, text=True, check=True, cwd=ROOT)
    first, *_, last = done.stdout.splitlines()
    assert first.endswith("%  products") and not (tmp_path / "mine").exists()
    share = re.fullmatch(r"products: (\d+)%, with the others: (\d+)% of [\d.]+ s", last)
    assert 30 < int(share[1]) == int(share[2]) <= 110


@pytest.mark.parametrize("content, words", [
    (None, "No such file or directory"), (b"\xff\xfe1\x00", "not UTF-8 text"),
    (b"", "no command of run_all.sh"), (b"hello\n", "no command of run_all.sh")])
def test_what_is_no_log_is_one_line_that_names_it(content, words, tmp_path):
    path = tmp_path / "run.log"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SystemExit, match=words) as ended:
        minutes.read(path)
    assert ended.value.code.startswith(f"error: {path}: ") and "\n" not in ended.value.code


@pytest.mark.parametrize("words", [[], ["products"], ["products", "no/script.py"]])
def test_what_is_no_command_is_one_line(words, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["minutes", *words])
    with pytest.raises(SystemExit, match="^error: [^\n]+$"):
        minutes.main()
