"""The whole experiment at its smallest: every cell, the same twice, seconds the second time.

    python -m pytest -q tests/test_run_all.py
"""

import csv
import os
import re
import runpy
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def run_all(*argv, **more):
    return subprocess.run(["bash", ROOT / "run_all.sh", *map(str, argv)], capture_output=True,
                          text=True, env=os.environ | {"PYTHON": sys.executable}, **more)


def test_smoke_fills_every_cell_and_is_skipped_the_second_time(tmp_path):
    command = ("smoke", "--tasks", "fairness,privacy", "--limit", 60, "--out", tmp_path)
    done = run_all(*command)
    assert done.returncode == 0, done.stdout + done.stderr
    with open(tmp_path / "results.csv") as file:
        cells = {tuple(row[key] for key in ("task", "strategy", "model", "seed"))
                 for row in csv.DictReader(file)
                 if row["slice"] == "all" and row["metric"] in ("dpd_abs", "extraction")}
    assert cells == {("fairness", strategy, model, "0") for strategy in ("none", "weak", "both")
                     for model in ("weak", "student-naive", "student-aux", "ceiling")} | {
        ("privacy", strategy, model, "0") for strategy in ("none", "weak", "both")
        for model in ("weak", "student-naive", "ceiling")} | {
        ("privacy", "none", model, "0") for model in ("base-weak", "base-strong")}
    text = (tmp_path / "report.md").read_text()
    assert "from scratch" in text and "poisson sampling" in text and "Not finished" not in text
    before = {p: p.read_bytes() for kind in ("csv", "jsonl") for p in tmp_path.rglob(f"*.{kind}")}
    began = time.monotonic()
    again = run_all(*command)
    assert again.returncode == 0 and time.monotonic() - began < 30
    assert before == {p: p.read_bytes() for p in before}
    changed = run_all(*command, "--epochs", 7)
    assert changed.returncode == 1 and "--epochs the default -> 7" in changed.stderr


def commands(*argv, **more):
    done = run_all(*argv, "--dry-run", **more)
    assert done.returncode == 0, done.stderr
    return [line for line in done.stdout.splitlines() if line[0] != "#"]


def test_dry_run_prints_commands_only_and_makes_nothing(tmp_path):
    lines = commands("paper", "--raw", tmp_path, "--weak", tmp_path, "--strong", "a/b", "--seeds",
                     2, "--out", tmp_path / "out", "--tasks", "ood,fairness")
    assert all(re.search(r"\.py --(task|teacher) | -m w2s\.", line) for line in lines)
    made = [line for line in lines if "w2s.report" not in line]
    assert len({*made}) == len(made) > 60 and not (tmp_path / "out").exists()
    for name in ("plain", "it's a \"b\" & $c # d", "müll"):  # a line is a command of a shell
        line = commands("paper", "--weak", "a/b", "--strong", "a/b", "--tasks", "fairness", "--out",
                        tmp_path / name, "--seeds", 1)[1]
        shell = subprocess.run(["bash", "-c", f"printf '%s\\0' {line}"], capture_output=True)
        assert shell.stdout.decode().split("\0")[:-1] == shlex.split(line)
        assert f"{tmp_path / name}/fairness/seed0/ceiling-none" in shlex.split(line)


def test_paths_are_those_of_the_caller(tmp_path):
    (tmp_path / "rows").mkdir()
    line = commands("smoke", "--data", "rows", "--out", "here", "--select", "test",
                    cwd=tmp_path)[1]
    assert f"--data {tmp_path}/rows/fairness" in line
    assert f"--out {tmp_path}/here/" in commands("smoke", "--out", "here", cwd=tmp_path)[3]


def test_the_miniature_is_the_default():
    lines, same = commands("--seeds", 1), commands("miniature", "--seeds", 1)
    # reports are told the command
    assert [line for line in lines if "w2s.report" not in line] == \
        [line for line in same if "w2s.report" not in line]
    assert "w2s.miniature world" in lines[0]
    alone = commands("--tasks", "fairness")
    assert not any(word in line for line in alone for word in ("surrogate", "attacks.py"))


def test_the_chain_goes_from_student_to_student_and_all_means_everything():
    lines = commands("--tasks", "all", "--seeds", 1)
    for task in ("mcqa", "arithmetic", "game"):
        own = [line for line in lines if f"--task {task} " in line or f"/{task}/" in line]
        teachers = [Path(flag(line, "--teacher")).name for line in own if "train_ntf" in line]
        # seven scores, two more without a student, ntf-both, labelled rows alone and beside ntf's,
        # these and ntf of 300 rows; consistency and agreement; mcqa: both zero-shot; arithmetic:
        # learned from another task
        first = 17 + {"mcqa": 2, "arithmetic": 1, "game": 0}[task]
        assert teachers == ["weak-none"] * first + ["student-ntf", "weak-none", "student-gen2",
                                                    "weak-none"]
        assert {flag(line, "--select") for line in own if "train_ntf" in line} == {
            "confidence", "margin", "entropy", "icl-confidence", "reward", "random", "ntf",
            "truth-n", "truth", "labelled", "consistency", "agreement"}
        labels = {Path(flag(line, "--out")).name: Path(flag(line, "--labels")) for line in own
                  if "train_student" in line}
        same = {"student-gen2-same-tau": "student-ntf-wts.jsonl",
                "student-gen3-same-tau": "student-gen2-same-tau-wts.jsonl"}
        assert {name: path.parts[-2:] for name, path in labels.items()} == {
            name: ("labels", same.get(name, "wts.jsonl")) for name in labels}
        # other training and larger students of truth have the labels of their way
        way = re.compile("student-(.+?)(-lora|-grpo|-easy|(?<=truth)-gen2)?")
        assert {name: path.parts[-3] for name, path in labels.items()} == {
            name: "weak-none" if name == "student-all" else
            f"trust-{way.fullmatch(name)[1]}" for name in labels}
        # every generation learns anew but in the chain of the first trust function
        assert {Path(flag(line, "--out")).name for line in own if flag(line, "--ntf")} == {
            "trust-gen2-same-tau", "trust-gen3-same-tau"}
    crossed = [line for line in lines if "train_student" in line and "-ntf --" in line
               and "student-naive-" in line]
    taught = {(Path(flag(line, "--out")).name, Path(flag(line, "--labels")).parts[-3])
              for line in crossed}
    assert len(crossed) == 3 * 3 and taught == {
        ("student-naive-none-ntf", "trust-ntf-none"), ("student-naive-weak-ntf", "trust-ntf-tft"),
        ("student-naive-both-ntf", "trust-ntf-tft")}
    assert {(Path(flag(line, "--out")).name, Path(flag(line, "--teacher")).name) for line in lines
            if "train_ntf" in line and "/trust-ntf-" in flag(line, "--out")} == {
        ("trust-ntf-none", "weak-none"), ("trust-ntf-tft", "weak-tft"),
        ("trust-ntf-zero-shot", "weak-none"), ("trust-ntf-other-task", "weak-none"),
        ("trust-ntf-both", "weak-none"), ("trust-ntf-n300", "weak-none")}
    assert len([line for line in lines if "student-naive-both-ntf" in line]) == 2 * 3
    other = [line for line in lines if "trust-ntf-other-task" in line]
    assert len(other) == 1 and flag(other[0], "--labelled").endswith("/mcqa-trust.jsonl")


def test_the_students_of_a_chain_may_be_larger_each_time():
    lines = commands("paper", "--tasks", "mcqa", "--seeds", 1, "--weak", "w/w", "--strong",
                     "a/a,b/b")
    model = {Path(flag(line, "--out")).name: flag(line, "--model") for line in lines
             if "train_student" in line or "train_weak" in line}
    assert {name for name, size in model.items() if size == "b/b"} == {
        "student-gen2", "student-gen2-same-tau", "student-gen3", "base-strong-gen2",
        "student-truth-gen2"}
    assert model.pop("weak-none") == "w/w" and {*model.values()} == {"a/a", "b/b"}


def flag(line, name):
    """The value of a flag of a command, None without it; a flag must not be given twice."""
    words = shlex.split(line)
    assert words.count(name) < 2, line
    return words[words.index(name) + 1] if name in words else None


def test_an_interrupted_run_leaves_nothing_running(tmp_path):
    process = subprocess.Popen(["bash", ROOT / "run_all.sh", "smoke", "--out", tmp_path / "out"],
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                               env=os.environ | {"PYTHON": sys.executable})
    assert process.stdout.readline().startswith("[1/")
    time.sleep(0.5)
    children = subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=20)
    assert process.returncode == 130 and errors.startswith("error: interrupted")
    assert children.stdout and not any(Path(f"/proc/{pid}").exists()
                                       for pid in children.stdout.split())


@pytest.mark.parametrize("argv, code, message", [
    (["--seeds", "0"], 1, "--seeds 0: must be >= 1"),
    (["--tasks", "fairnes"], 1, "unknown task fairnes"), (["--jobs", "x"], 2, "--jobs: expected"),
    (["--limit", "-5"], 1, "--limit -5"), (["--sedes", "2"], 2, "--sedes"),
    (["--attack-limit", "0"], 1, "--attack-limit 0"),
    (["--synonyms", "no/file"], 1, "no such file (--synonyms)"),
    (["--synonyms", "README.md"], 1, "README.md:1: not JSON"),
    (["nonsense"], 2, "unknown preset nonsense"),
    (["paper", "--raw", "/no/such/folder"], 1, "no such folder"),
    (["--tasks", ","], 1, "--tasks ,"), (["--lr", "-1"], 1, "--lr -1"),
    (["--device", "--dry-run"], 2, "--device"), (["--compile", "x"], 1, "--compile x"),
    (["--weak", "/no/such/model"], 1, "/no/such/model: no such folder"),
    (["--weak", ""], 1, "--weak '': is empty"),
    (["--split-seed", "-1"], 1, "--split-seed -1: must be >= 0"),
    (["--protocol", "printd"], 1, "--protocol printd: choose from ours, printed"),
    (["--recipe", "no/file"], 1, "no/file: no such file (--recipe)"),
    (["--surrogate", "w2s/models/mini-strong"], 1, "is also the teacher or a student"),
    (["--generations", "9"], 1, "--generations 9: must be <= 8"),
    (["--generations", "0"], 1, "--generations 0: must be >= 1"),
    (["--budgets", "100,x"], 1, "--budgets 100,x: expected numbers of rows, as in 100,300"),
    (["--budgets", "0"], 1, "--budgets 0: expected numbers of rows"),
    (["--device", "mps"], 1, "--device mps: is a GPU of Apple's, and this is no such Mac"),
    (["--device", "tpu9"], 1, "--device tpu9: no such device"),
    (["--tasks", "fairness", "--tasks", "ood"], 2, "argument --tasks: given twice; give it once"),
    (["sweep", "--figure", "3", "--figure", "A2"], 2, "argument --figure: given twice"),
    (["paper", "--tasks", "privacy"], 1, "files of privacy are missing, see the list above"),
    (["smoke", "--weak", "x"], 1, "--weak and --strong: smoke makes its models itself"),
    (["paper", "--dtype", "float16"], 1, "overflows")])
def test_bad_arguments_are_one_line(argv, code, message, tmp_path):
    done = run_all(*argv, "--out", tmp_path / "out")
    assert done.returncode == code and message in done.stderr and done.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("inside", ["", "deep/in"])
def test_results_are_not_put_under_a_file(inside, tmp_path):
    (tmp_path / "file").write_text("kept")
    done = run_all("smoke", "--out", tmp_path / "file" / inside)
    assert done.returncode == 1 and done.stderr.count("\n") == 1 and not done.stdout
    assert f"{tmp_path / 'file'} is no folder; choose another --out" in done.stderr


def test_a_compiler_that_is_not_there_is_missed_before_anything_is_made(tmp_path, monkeypatch):
    for tool in ("bash", "dirname", "grep"):
        (tmp_path / tool).symlink_to(shutil.which(tool))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("PYTHON", sys.executable)
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "kept"))
    done = run_all("smoke", "--compile", "on", "--device", "cpu", "--out", tmp_path / "out")
    assert done.returncode == 1 and done.stderr.count("\n") == 1, done.stderr
    assert "--compile on: torch cannot compile here" in done.stderr
    assert not (tmp_path / "out").exists() and not done.stdout


GNU = (  # what bash 3.2 or the tools of a Mac do not have
    r"declare -[Agn]|mapfile|readarray|coproc|\|&|&>>|\$\{\w+(,,?|\^\^?)|\[\[ -v |;;&|;&|wait -n",
    r"readlink -f|realpath|nproc|sed -i|sed -r|grep -P|date [^|]*%N|stat -c|cp -t|xargs -[rd]|find "
    r"[^|]*-(printf|quit)|head -n -|sort -[Vz]|tac\b|timeout |seq -w|mktemp -p|base64 -w|paste -sd")


def test_run_all_asks_nothing_of_a_shell_that_a_mac_does_not_have():
    code = [line.split(" #")[0] for line in (ROOT / "run_all.sh").read_text().splitlines()]
    for pattern in GNU:
        assert not [line for line in code if re.search(pattern, line)]
    assert not [line for line in code if re.search(r"\$\{\w+\[@\]\}", line)
                and "FILES[@]" not in line]  # under set -u an empty array is an error in bash 3.2


def test_run_all_calls_no_tools_but_dirname_and_grep(tmp_path):
    """So it cannot call one in a way that only GNU's understands; neither has a flag there."""
    for name in ("bash", "dirname", "grep"):
        (tmp_path / name).symlink_to(shutil.which(name))
    done = subprocess.run(
        [tmp_path / "bash", ROOT / "run_all.sh", "--dry-run", "--out", tmp_path / "out"],
        capture_output=True, text=True, env={"PATH": str(tmp_path), "PYTHON": sys.executable})
    assert done.returncode == 0 and "train_weak.py" in done.stdout
    assert "not found" not in done.stderr
    code = (ROOT / "run_all.sh").read_text()
    assert not re.search(r"(grep|dirname) -", code.replace("dirname --", ""))


def test_an_old_python_is_named(tmp_path):
    for name in ("python3", "python3.11", "python3.12", "python3.13"):
        old = tmp_path / name
        old.write_text("#!/bin/sh\nexit 1\n")
        old.chmod(0o755)
    environment = {key: value for key, value in os.environ.items() if key != "PYTHON"}
    done = subprocess.run(["bash", "run_all.sh", "--dry-run"], cwd=copied(tmp_path / "here"),
                          capture_output=True, text=True, timeout=60,
                          env=environment | {"PATH": f"{tmp_path}:/usr/bin:/bin"})
    assert done.returncode == 1 and done.stderr.count("\n") == 1
    assert done.stderr.startswith("error: Python 3.11 or newer is needed")


def test_a_python_that_is_named_is_not_passed_over(tmp_path):
    old = tmp_path / "python3.9"
    old.write_text("#!/bin/sh\nexit 1\n")
    old.chmod(0o755)
    done = subprocess.run(["bash", ROOT / "run_all.sh", "--dry-run"], capture_output=True,
                          text=True, env=os.environ | {"PYTHON": str(old)})
    assert (done.returncode, done.stderr) == (
        1, f"error: PYTHON={old}: is no Python 3.11 or newer; name another, or leave it out\n")


def test_another_shell_is_told_to_be_bash():
    shell = shutil.which("dash") or pytest.skip("needs a shell that is not bash")
    done = subprocess.run([shell, ROOT / "run_all.sh", "--dry-run"], capture_output=True, text=True)
    assert done.returncode == 2 and done.stdout == "" and done.stderr.count("\n") == 1
    assert done.stderr.startswith("error: run_all.sh is a script of bash: say bash run_all.sh")


@pytest.mark.parametrize("version, refused", [((3, 9, 18), True), ((3, 10, 99), True),
                                              ((3, 11, 0), False), ((4, 0, 0), False)])
def test_an_older_python_is_told_before_anything_is_imported(version, refused, monkeypatch):
    monkeypatch.setattr(sys, "version_info", version)
    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path])
    try:
        runpy.run_path(str(ROOT / "w2s" / "__init__.py"))
        message = ""
    except SystemExit as end:
        message = str(end.code)
    assert message.startswith("error: Python 3.11 or newer is needed; this is 3.") == refused


@pytest.mark.parametrize("plan", [["w2s.experiment"], ["w2s.experiment", "--format", "lines"],
                                  ["w2s.sweep", "sweep", "--figure", "3"]], ids=" ".join)
def test_a_plan_is_printed_where_no_package_is_installed(plan):
    done = subprocess.run([sys.executable, "-S", "-m", *plan, "--dry-run"], cwd=ROOT,
                          capture_output=True, text=True)
    assert done.returncode == 0 and "train_student.py" in done.stdout, done.stderr


def copied(folder):
    """run_all.sh in a folder without a .venv."""
    folder.mkdir()
    (folder / "run_all.sh").write_text((ROOT / "run_all.sh").read_text())
    return folder
