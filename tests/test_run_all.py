"""The whole experiment at its smallest: every cell, the same twice, seconds the second time.

    python -m pytest -q tests/test_run_all.py
"""

import csv
import os
import re
import shlex
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


def test_dry_run_prints_commands_only_and_makes_nothing(tmp_path):
    done = run_all("paper", "--raw", tmp_path, "--weak", tmp_path, "--strong", "a/b", "--seeds", 2,
                   "--out", tmp_path / "out", "--dry-run", "--tasks", "ood,fairness")
    lines = done.stdout.splitlines()
    assert done.returncode == 0 and len(lines) == 2 + 4 * 2 + 4 + 4 * 8 + 4 * 2 + 1 + 2 * 6
    assert all(re.search(r"\.py --(task|teacher) | -m w2s\.", line) for line in lines)
    assert not (tmp_path / "out").exists()


def commands(*argv):
    done = run_all(*argv, "--dry-run")
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def flag(line, name):
    """The value of a flag of a command, None without it; a flag must not be given twice."""
    words = shlex.split(line)
    assert words.count(name) < 2, line
    return words[words.index(name) + 1] if name in words else None


def test_the_miniature_is_the_default_and_makes_its_attacked_rows_first():
    lines = commands("--seeds", 1)
    assert lines[:-1] == commands("miniature", "--seeds", 1)[:-1]  # the report is told the command
    own, crossed, chained = 2 + 1 + 7 + 5 + 1, 2 + 3 + 1, 2 * 3  # of mcqa, of ood, of generations
    assert len(lines) == (1 + 1 + 6 + 5 + 3 * (4 + 1 + 6 + 2) + 3 + (6 + 1 + 3 + 6 + 2) + 1
                          + own + crossed + chained)
    assert "w2s.miniature world" in lines[0] and "runs/miniature/surrogate" in lines[3]
    assert all("attacks.py text" in line and "/surrogate " in line for line in lines[4:10])
    assert "w2s.prepare" in lines[10] and flag(lines[10], "--task") == "adversarial"
    alone = commands("--tasks", "fairness")
    assert not any(word in line for line in alone for word in ("surrogate", "attacks.py"))


def test_the_recipe_gives_way_to_options_and_leaves_unregularised_runs_alone():
    fits = re.compile("train_(weak|student)").search
    trained = {flag(line, "--out"): line for line in filter(fits, commands("--seeds", 1))}
    given = list(filter(fits, commands("--seeds", 1, "--lr", "7e-4")))
    assert len(given) == len(trained) == 40 + 3 + 2 + 5 + 2
    assert {flag(line, "--lr") for line in given} == {"7e-4"}
    for out, line in trained.items():
        assert flag(line, "--lr") not in (None, "7e-4")
        regularised = out.removesuffix("-ntf").endswith(("tft", "both"))
        if "/mcqa/" in out:  # no regulariser there
            assert flag(line, "--lam") is None
            continue
        assert (flag(line, "--lam") == "0") != regularised, line
    paper = list(filter(fits, commands("paper", "--seeds", 1)))
    assert {(flag(line, "--lr"), flag(line, "--lam")) for line in paper} <= {
        (None, "0"), (None, None)}


def test_privacy_has_untuned_controls_and_every_model_of_a_seed_is_attacked_on_the_same_mails():
    lines = commands("smoke", "--tasks", "privacy", "--epochs", 5, "--attack-limit", 7)
    trained = {flag(line, "--out").split("/")[-1]: line for line in lines if "train_" in line}
    students = [f"student-naive-{key}" for key in ("none", "weak", "both")]
    assert sorted(trained) == sorted(["weak-none", "weak-tft", "ceiling-none", "ceiling-tft",
                                      "base-weak", "base-strong", *students])
    for name, line in trained.items():
        assert flag(line, "--epochs") == ("0" if name.startswith("base") else "5")
        assert (flag(line, "--lam") is None) == name.endswith(("tft", "both"))
    for kind in ("extraction", "membership"):
        found = [line for line in lines if f"attacks.py {kind} " in line]
        attacked = [Path(run).name for line in found
                    for run in line.split(" --run ")[1].split(" --")[0].split()]
        assert sorted(attacked) == sorted(trained)
        assert {line.split(" --data ")[1].split(" --run ")[0] for line in found} == {" ".join(
            f"data/smoke/privacy/{part}.jsonl" for part in ("weak", "wts", "test")) + " --limit 7"}
    measured = " ".join(line for line in lines if "evaluate.py" in line)
    assert all(f"/{name}" in measured for name in trained) and "student-aux" not in measured


def test_the_recipe_knows_sizes_and_names_of_runs(tmp_path):
    script = (ROOT / "run_all.sh").read_text()
    own = "RECIPE='\n  smoke privacy *-tft --clip 0.5\n  smoke privacy *both --clip 0.25"
    copy = tmp_path / "run_all.sh"
    copy.write_text(script.replace("RECIPE='", own, 1))
    for part in ("w2s", "requirements.txt"):
        (tmp_path / part).symlink_to(ROOT / part)
    done = subprocess.run(["bash", copy, "smoke", "--tasks", "privacy", "--dry-run"], text=True,
                          capture_output=True, env=os.environ | {"PYTHON": sys.executable})
    clip = {flag(line, "--out").split("/")[-1]: flag(line, "--clip")
            for line in done.stdout.splitlines() if "train_" in line}
    assert {name: value for name, value in clip.items() if value} == {
        "weak-tft": "0.5", "ceiling-tft": "0.5", "student-naive-both": "0.25"}


def test_each_line_of_a_dry_run_is_one_command_of_a_shell(tmp_path):
    for name in ("plain", "it's a \"b\" & $c # d", "müll"):
        lines = commands("paper", "--tasks", "ood", "--seeds", 1, "--out", tmp_path / name)
        assert flag(lines[1], "--out") == f"{tmp_path / name}/ood/seed0/ceiling-none"
        shell = subprocess.run(["bash", "-c", f"printf '%s\\0' {lines[1]}"], capture_output=True)
        assert shell.stdout.decode().split("\0")[:-1] == shlex.split(lines[1])


def test_the_chain_goes_from_student_to_student_and_all_means_everything():
    lines = commands("--tasks", "all", "--seeds", 1)
    for task in ("mcqa", "arithmetic", "game"):
        own = [line for line in lines if f"--task {task} " in line or f"/{task}/" in line]
        teachers = [Path(flag(line, "--teacher")).name for line in own if "train_ntf" in line]
        first = 9 if task == "game" else 10  # one zero-shot, one that learned from another task
        assert teachers == ["weak-none"] * first + ["student-ntf", "student-gen2"]
        assert {flag(line, "--select") for line in own if "train_ntf" in line} == {
            "confidence", "margin", "entropy", "icl-confidence", "reward", "random", "ntf",
            "truth-n", "truth"}
        labels = {flag(line, "--labels") for line in own if "train_student" in line}
        assert len(labels) == 1 + 7 + 2 and all("/labels/wts.jsonl" in name for name in labels)
    assert len([line for line in lines if "student-naive-both-ntf" in line]) == 2 * 3
    other = [line for line in lines if "trust-ntf-other-task" in line]
    assert len(other) == 1 and flag(other[0], "--labelled").endswith("/mcqa-trust.jsonl")


def test_the_students_of_a_chain_may_be_larger_each_time():
    lines = commands("--tasks", "mcqa", "--seeds", 1, "--strong", "a,b")
    model = {Path(flag(line, "--out")).name: flag(line, "--model") for line in lines
             if "train_student" in line or "train_weak" in line}
    assert {name for name, size in model.items() if size == "b"} == {"student-gen2", "student-gen3"}
    assert model.pop("weak-none").endswith("mini-weak") and {*model.values()} == {"a", "b"}


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
    (["--seeds", "0"], 1, "--seeds 0: must be a whole number >= 1"),
    (["--tasks", "fairnes"], 1, "unknown task fairnes"), (["--jobs", "x"], 1, "--jobs x"),
    (["--limit", "-5"], 1, "--limit -5"), (["--sedes", "2"], 2, "unknown argument --sedes"),
    (["--attack-limit", "0"], 1, "--attack-limit 0"),
    (["--synonyms", "no/file"], 1, "no such file (--synonyms)"),
    (["nonsense"], 2, "unknown preset nonsense"), (["--seeds"], 2, "--seeds needs a value"),
    (["paper", "--raw", "/no/such/folder"], 1, "no such folder"),
    (["--tasks", ""], 2, "--tasks needs a value"), (["--tasks", ","], 1, "--tasks ,"),
    (["--seeds", "08"], 1, "--seeds 08"), (["paper", "--dtype", "float16"], 1, "overflows")])
def test_bad_arguments_are_one_line(argv, code, message, tmp_path):
    done = run_all(*argv, "--out", tmp_path / "out") if argv[-1] != "--seeds" else run_all(*argv)
    assert done.returncode == code and message in done.stderr and done.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()
