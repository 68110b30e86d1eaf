"""The preset real: base models from real text, then the experiment on public data.

    python -m pytest -q tests/test_real.py

Its whole plan is held to tables in tests/test_wiring.py.
"""

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.worlds import RAW
from w2s import config, experiment, phases
from w2s.experiment import Config
from w2s.sweep import __main__ as sweep

ROOT = Path(__file__).parent.parent


@pytest.fixture
def text(tmp_path):
    """A file of 300 documents, one a line."""
    path = tmp_path / "text.txt"
    path.write_text("".join(f"the {k} birds of hill {k * k % 97} sing to the sea at {k % 24} h\n"
                            for k in range(300)))
    return path


def plan(raw, **options):
    return phases.Experiment(Config(raw=str(raw), **options), "real")


def trained(found):
    return [step for step in found.steps if step.script == "w2s.miniature pretrain"]


def test_it_pretrains_models_and_goes_on_to_the_report(world, tmp_path, text):
    recipe = tmp_path / "little.txt"
    recipe.write_text("* * --epochs 0.2\n* pretrain --passes 2\n* pretrain --vocabulary 300\n")
    done = subprocess.run(
        ["bash", ROOT / "run_all.sh", "real", "--raw", world / "raw", "--text", text, "--tasks",
         "ood", "--seeds", "1", "--limit", "40", "--recipe", recipe, "--out", tmp_path / "out"],
        capture_output=True, text=True, env=os.environ | {"PYTHON": sys.executable})
    assert done.returncode == 0, done.stdout + done.stderr
    models = tmp_path / "out/data/models"
    for place, layers, width in (("weak/real-2x64", 2, 64), ("strong/real-4x192", 4, 192)):
        config = json.loads((models / place / "config.json").read_text())
        about = json.loads((models / place / "pretraining.json").read_text())
        assert (config["num_hidden_layers"], config["hidden_size"]) == (layers, width)
        assert about["steps"] * 16 * 128 == pytest.approx(2 * about["tokens_a_pass"], rel=.2)
        assert about["inputs"].keys() == {"text.txt"}
        assert 1 < about["perplexity"] < math.inf
    assert not (models / "large").exists()  # which only the chain and figures of sizes need
    run = json.loads((tmp_path / "out/ood/seed0/student-naive-none/config.json").read_text())
    assert run["args"]["model"] == str(models / "strong/real-4x192")
    report = (tmp_path / "out/report.md").read_text()
    assert "REAL: public data" in report
    line = next(line for line in report.splitlines() if line.startswith("| real-4x192"))
    assert f" {about['steps'] * 16 * 128:,} |" in line  # windows of 128 tokens, 16 a step


def test_text_is_what_lies_in_the_raw_folder_unless_it_is_named(tmp_path, text):
    (tmp_path / "corpus").mkdir()
    for name in ("b.txt", "a.jsonl.gz", "README.md", "._b.txt"):
        (tmp_path / "corpus" / name).touch()
    (tmp_path / "corpus/c.txt").mkdir()
    weak, strong = trained(plan(tmp_path, tasks="ood"))
    assert weak.fixed["--text"] == strong.fixed["--text"] == [
        str(tmp_path / "corpus/a.jsonl.gz"), str(tmp_path / "corpus/b.txt")]
    weak, strong, large = trained(plan(tmp_path, tasks="ood,mcqa", text=[str(text)]))
    assert large.fixed["--shape"] == "real-6x256" and large.fixed["--text"] == [str(text)]


def test_models_that_are_given_are_not_pretrained(tmp_path):
    given = {"weak": "w2s/models/mini-weak", "strong": "w2s/models/mini-strong"}
    assert not trained(plan(tmp_path, tasks="ood", **given))
    weak, = trained(found := plan(tmp_path, tasks="ood", strong=given["strong"]))
    assert weak.fixed["--shape"] == "real-2x64"
    beside = str(Path(found.weak).parent / "mine")  # not the preset's, wherever it stands
    assert not found.makes(beside) and found.makes(found.weak)
    # what the report says of models is said of those that were made here alone
    assert "--note" not in found.steps[-1].fixed and "--note" in plan(tmp_path).steps[-1].fixed


def test_quick_reads_less_and_has_one_seed(tmp_path):
    whole, quick = plan(tmp_path, tasks="ood"), plan(tmp_path, tasks="ood", quick=True)

    def words(found, flag):
        return [line[line.index(flag) + 1] for line in map(found.line, found.steps)
                if flag in line]
    assert {cell.seed for cell in quick.each()} == {0}
    assert {cell.seed for cell in whole.each()} == {0, 1, 2}
    few, many = (float(words(found, "--passes")[0]) for found in (quick, whole))
    assert few < many
    assert words(quick, "--limit") and not words(whole, "--limit")
    assert (len(quick.strong), len(whole.strong)) == (1, 2)  # the chain's larger one takes longest
    # of other rows and tokens, so in folders of its own
    assert (str(quick.out), str(quick.rows)) == ("runs/real-quick", "data/real-quick")
    assert (str(whole.out), str(whole.rows)) == ("runs/real", "data/real")


@pytest.mark.parametrize("asked, fast, dtype", [
    (None, True, ["bfloat16"]), (None, False, []), ("float32", True, ["float32"])])
def test_pretraining_has_the_precision_of_training(tmp_path, monkeypatch, asked, fast, dtype):
    monkeypatch.setattr(phases, "fast_bfloat16", lambda: fast)
    found = plan(tmp_path, tasks="ood", dtype=asked)
    for step in trained(found):
        words = found.line(step)
        assert [b for a, b in zip(words, words[1:]) if a == "--dtype"] == dtype


def test_rows_are_read_before_anything_is_pretrained(tmp_path):
    found = [step.script for step in plan(tmp_path, tasks="fairness,ood").steps]
    rows = [n for n, script in enumerate(found) if script == "w2s.prepare data"]
    assert max(rows) < found.index("w2s.miniature pretrain") < found.index("train_weak.py")


@pytest.mark.parametrize("figure, sizes", [
    ("3", {"real-2x64", "real-4x192"}), ("A9", {"real-2x64", "real-6x256"}),
    ("A3", {"real-2x32", "real-2x64", "real-4x192", "real-6x256"})])
def test_a_sweep_pretrains_what_its_figures_need(tmp_path, figure, sizes):
    words = ["--preset", "real", "--figure", figure, "--raw", str(tmp_path)]
    found = sweep.planned(config.parse(sweep.Config, "", words))
    assert {step.fixed["--shape"] for step in trained(found)} == sizes
    quick = sweep.planned(config.parse(sweep.Config, "", [*words, "--quick"]))
    assert {cell.seed for cell in quick.each()} == {0}


@pytest.mark.parametrize("preset, options, message", [
    ("paper", {"quick": True}, "--quick: only the preset real has it; leave it out"),
    ("smoke", {"text": ["README.md"]}, "--text: only the preset real has it; leave it out"),
    ("real", {}, "real: the data is not ours to ship; give its folder as --raw (docs/data.md says "
                 "what it holds)"),
    ("real", {"raw": "docs"}, "docs/corpus: no .jsonl or .txt file to pretrain on; give text as "
                              "--text FILE, or models as --weak and --strong"),
    ("real", {"data": "docs"}, "give text as --text FILE, or models as --weak and --strong"),
    ("real", {"raw": "docs", "text": ["docs"]}, "docs: a folder; give its files (--text)"),
    ("real", {"raw": "docs", "text": ["none.txt"]}, "none.txt: no such file (--text)")])
def test_what_is_missing_is_said_at_the_start(preset, options, message):
    with pytest.raises(ValueError) as error:
        experiment.main(Config(dry_run=True, **options), preset)
    assert str(error.value) == message


def test_missing_files_of_a_task_are_said_before_anything_is_pretrained(world, tmp_path, text):
    raw = tmp_path / "raw"
    raw.mkdir()
    for name in RAW["fairness"]:
        (raw / name).write_bytes((world / "raw" / name).read_bytes())
    with pytest.raises(ValueError, match="^files of privacy are missing"):
        experiment.main(Config(raw=str(raw), text=[str(text)], tasks="fairness,privacy",
                               out=str(tmp_path / "out")), "real")
    assert not (tmp_path / "out").exists()
