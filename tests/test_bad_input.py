"""A generator of bad input: every command (tests/worlds.py), the files that it reads and its
flags, spoilt in every way that tests/spoil.py knows. Right is: exit code 0 where the input is still
good, else 1 or 2 with exactly one line on stderr that names the file or the flag; no traceback,
signal or hang, no more memory than MEMORY, what was given unchanged, nothing half-written left.

    python -m pytest -q tests/test_bad_input.py
    W2S_CASES=5000 W2S_SEED=1 python -m pytest -q tests/test_bad_input.py      more and other ones

Commands, and of each its files and flags, take turns. W2S_FIRST=K begins with case K.
"""

import json
import multiprocessing
import os
import random
import shutil
import traceback

import pytest

from tests import spoil, worlds
from tests.conftest import read_json

CASES, SEED = int(os.environ.get("W2S_CASES", 120)), int(os.environ.get("W2S_SEED", 0))
FIRST = int(os.environ.get("W2S_FIRST", 0))
PARTS = max(8, CASES // 150)  # a process that starts 600 others comes to an end by itself
FORKS = multiprocessing.get_context("forkserver")  # its processes have torch, and no threads yet
FORKS.set_forkserver_preload([
    "torch._dynamo", "tests.worlds", "w2s.training", "w2s.report", "w2s.prepare",
    "w2s.attacks.text",
    "w2s.attacks.extraction", "w2s.attacks.membership", "w2s.attacks.audit", "w2s.trust.ntf",
    "w2s.trust.baselines", "w2s.miniature.recipe", "w2s.experiment", "w2s.infer.classify"])


FOUND = (  # what it has found: a command; a file with its new content, or {key: value} of its first
    #          row, or words for the end; what an error must name
    ("mcqa: check", "data/val.jsonl", {"group": {}}, "val.jsonl:1"),
    ("fairness: text", "data/test.jsonl", {"source": []}, "test.jsonl:1"),
    ("extraction", "data/weak.jsonl", {"source": .5}, "weak.jsonl:1"),
    ("privacy: evaluate", "run/eval.json", [], "eval.json"),
    ("privacy: evaluate", "run/eval.json", {"val": []}, "eval.json"),
    ("fairness: prepared", "data/manifest.json", None, "manifest.json"),
    ("fairness: prepared", "data/manifest.json", {"files": 1}, "manifest.json"),
    ("fairness: again", "run/config.json", {"inputs": {"x": {}}}, "config.json"),
    ("mcqa: margin", "run/labels/wts.jsonl.meta.json", {"task": {}}, "wts.jsonl"),
    ("mcqa: prepare", "raw/mmlu.jsonl", {"id": 9}, "mmlu.jsonl"),
    ("text again", "attacked/attack-text.json", {"args": []}, "attack-text.json"),
    ("pool", "commands.txt", "python -m w2s.nothing\n", "commands.txt:1"),
    ("pool", "commands.txt", "python 'x.py\n", "commands.txt:1"),
    ("experiment", "recipe.txt", "\ud83d", "recipe.txt:1"),
    ("mcqa: train", "model/config.json", {"x": "\ud83d"}, "config.json"),
    ("privacy: again", "run/config.json", 1.5, "config.json"),
    ("pretrain", "--out /dev/null", None, "--out"),
    ("pretrain", "--runs text.txt", None, "text.txt"),
    ("report trusted", "data/mcqa/manifest.json", {"splits": 1}, "manifest.json"),
    ("arithmetic: reward", "run/labels/wts.jsonl.meta.json", {"task": "x"}, "wts.jsonl"),
    ("fairness: evaluate", "data/val.jsonl", '{"id": "x", "text": "t", "label": 0, "a": 0}',
     "val.jsonl"),
    ("text again", "--out .", None, "--out"), ("audit", "--run \n", None, "--run"),
    ("fairness: label", f"--max-length {10 ** 30}", None, "--max-length"))


@pytest.fixture(scope="module")
def home(world, tmp_path_factory):
    home = tmp_path_factory.mktemp("bad")
    forked(worlds.build, home, world, tmp_path_factory.mktemp("log") / "err")
    return home


def forked(work, *args):
    """work(*args) in a process of its own, which has imported torch and done nothing with it."""
    process = FORKS.Process(target=work, args=args)
    process.start()
    process.join()
    assert process.exitcode == 0, f"{work.__name__}: exit code {process.exitcode}, see stderr"


def judged(command, here, words=(), names=()):
    """What is wrong with a command in the folder `here` with these words, None: nothing; its exit
    code. names: an error must have one of them."""
    os.chdir(here)
    before = spoil.contents(here)
    code, err, size = spoil.watched(command.script, words or command.words, f"{here}.err")
    if "stopped, see above" in err:  # w2s.scheduler shows what its command said
        err = err.splitlines()[-1]
    return spoil.complaint(code, err, size, names) or spoil.changes(
        before, spoil.contents(here), here, command.writes.split(), code), code


def copied(home, command, here):
    """A new copy of a command's world; the folder."""
    os.chdir(home)
    shutil.rmtree(here, ignore_errors=True)
    return shutil.copytree(home / command.world, here, symlinks=True)


def spoilt(case, home, here):
    """Prepare case number `case` in the folder `here`: (Command, its words, what was spoilt, names
    of which an error must have one)."""
    every = sorted(worlds.commands().items())
    name, command = every[case % len(every)]
    draw = random.Random(f"{SEED} {case}")
    files = worlds.files_of(command, home)
    turns = [*files, *[None] * (2 + len(files) // 4)]
    random.Random(f"{SEED} {name}").shuffle(turns)
    path = turns[case // len(every) % len(turns)]
    copied(home, command, here)
    if path is None:
        words = spoil.with_flags(command.script, command.words, draw)
        return command, words, f"{name}: {' '.join(map(repr, words))[:300]}", [
            "--", *filter(str.strip, words)]
    try:
        way = spoil.changed(here / path, draw, here)
    except ValueError:  # JSON that holds itself, a tensor that cannot be written
        way = "nothing"
    above = [str(parent) for parent in path.parents][:-1]
    return command, command.words, f"{name}: {way} {path}", [path.name, *above]


def part(number, home, folder):
    """Every PARTS-th case; writes what is wrong with them to folder/wrong.json."""
    worlds.environment(home)
    wrong = []
    for case in range(FIRST + number, FIRST + CASES, PARTS):
        try:
            command, words, what, names = spoilt(case, home, folder / "case")
            if found := judged(command, folder / "case", words, names)[0]:
                wrong.append(f"case {case} ({what}): {found}")
                print(wrong[-1], flush=True)
        except Exception:
            wrong.append(f"case {case}: {traceback.format_exc()}")
    (folder / "wrong.json").write_text(json.dumps(wrong))


@pytest.mark.parametrize("number", range(PARTS))
def test_bad_input_is_one_line_and_changes_nothing(number, home, tmp_path):
    forked(part, number, home, tmp_path)
    wrong = read_json(tmp_path / "wrong.json")
    assert not wrong, "\n".join(wrong)


def found(home, folder):
    """The cases of FOUND; writes what is wrong with them to folder/wrong.json."""
    worlds.environment(home)
    wrong, here = [], folder / "case"
    for name, what, new, named in FOUND:
        command = worlds.commands()[name]
        copied(home, command, here)
        words = [*command.words, *what.split(" ")] if what.startswith("--") else command.words
        if isinstance(new, dict):
            first, *rest = spoil.parts(here / what)
            new = "\n".join([json.dumps(json.loads(first) | new), *rest])
        if not what.startswith("--"):
            new = new if isinstance(new, str) else json.dumps(new)
            (here / what).write_text(new, encoding="utf-8", errors="surrogatepass")
        complaint, code = judged(command, here, words, [named])
        if complaint or not code:
            wrong.append(f"{name}, {what}: {complaint} {code}")
    (folder / "wrong.json").write_text(json.dumps(wrong))


def test_what_was_found_stays_mended(home, tmp_path):
    forked(found, home, tmp_path)
    assert not read_json(tmp_path / "wrong.json")


def good(home, folder):
    """Every command on good input; writes what is wrong to folder/wrong.json."""
    worlds.environment(home)
    wrong = []
    for name, command in worlds.commands().items():
        found, code = judged(command, copied(home, command, folder / "case"))
        if found or code or not worlds.files_of(command, home):
            wrong.append(f"{name}: {found} {code}")
    (folder / "wrong.json").write_text(json.dumps(wrong))


def test_the_inputs_themselves_are_good(home, tmp_path):
    forked(good, home, tmp_path)
    assert not read_json(tmp_path / "wrong.json")
