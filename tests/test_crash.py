"""Every command that writes, killed before each change that it makes on disk, and on a full disk.

Afterwards the same command must end as if nothing had happened, with the same bytes in the same
files and no others; the same with other settings must be refused and change nothing, or end with
what it makes on its own: never a mix, never "done already" over results of other settings.

    python -m pytest -q tests/test_crash.py
    W2S_CRASHES=all python -m pytest -q tests/test_crash.py      every change of every command
"""

import os
import random
import re
import shutil
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests import memorised
from tests.report import test_report
from tests.crashing import Crashing
from w2s import locks, rows, runs

EVERY, SEED = os.environ.get("W2S_CRASHES") == "all", int(os.environ.get("W2S_SEED", 0))
FILLS = ("write", "save", "log")  # changes that need room on the disk
KEPT = ("checkpoint.safetensors", ".text/", ".parts/")  # from which the next one goes on
TRAIN = "--max-length 12 --epochs 2 --batch-size 8 --save-every .5"
FAIR = "--task fairness --device cpu"
MAIL = "--task privacy --run mail --data mails.jsonl held.jsonl --max-length 40"
TINY = ("pretrain --shape pythia-14m --layers 1 --hidden 16 --heads 2 --vocabulary 300 --length 16 "
        "--batch-size 4 --steps 6 --save-every .5 --text text.txt")
KNOWN = {  # where earlier versions were found wrong: these are tried always
    "train": (("kill", "rename new/model/.model.safetensors.part"),
              ("kill", "remove new/checkpoint.safetensors"), ("full", "log new/log.jsonl")),
    "trust": (("full", "write new/.ntf.safetensors.part"),),
    "label": (("kill", "write teacher/labels/.test.jsonl.meta.json.part"),),
    "label again": (("kill", "rename again/labels/.test.hidden.safetensors.part"),),
    "label without states": (("half", "rename teacher/labels/.test.hidden.safetensors.part"),),
    "evaluate again": (("kill", "write again/predictions/.test.jsonl.part"),),
    "text": (("kill", "write teacher/.attack-text.json.part"),),
    "prepare": (("kill", "rmdir new/.part"), ("kill", "remove new/.lock")),
    "prepare without trust": (("kill", "rename new/.part/manifest.json"),),
    "prepare again": (("kill", "rename ready/.part/val.jsonl"), ("kill", "rmdir ready/.part")),
    "publish": (("kill", "rename gone/.pythia-14m.part"),
                ("full", "save gone/.pythia-14m.part/.model.safetensors.part")),
    "publish over": (("kill", "remove old/.pythia-14m.old/pretraining.json"),)}
AGAIN = {  # on results that stand there already, in part
    "label again": ("label", f"{FAIR} --run again --data test.jsonl --hidden", "--max-length 6"),
    "evaluate again": ("evaluate", f"{FAIR} --run again --data test.jsonl", "--max-length 6"),
    "text again": ("attacks text", f"{FAIR} --run again --data test.jsonl --limit 6 --batch-size 3 "
                   "--methods typos", "--seed 1")}
COMMANDS = {  # name: (command, its arguments, in which it may differ); the first comes later
    "train": ("train_weak", f"{FAIR} {TRAIN} --model model --data weak.jsonl --out new",
              "--seed 1"),
    "student": ("train_student", f"{FAIR} {TRAIN} --model model --out new --alpha .2 --labels "
                "teacher/labels/wts.jsonl", "--lr .001"),
    "adapter": ("train_weak", f"{FAIR} {TRAIN} --model model --data weak.jsonl --out new "
                "--lora-rank 2 --save-adapter", "no --save-adapter"),
    "private": ("train_weak", f"--task privacy {TRAIN} --model model --data mails.jsonl --out new "
                "--lam 8 --canaries 8 --accountant rdp", "--clip 2"),
    "trust": ("train_ntf", "--teacher teacher --labelled teacher/labels/trust.jsonl --pool "
              "teacher/labels/wts.jsonl --out new --epochs 2", "--keep .25"),
    "label": ("label", f"{FAIR} --run teacher --data test.jsonl", "--max-length 6"),
    "label with states": ("label", f"{FAIR} --run teacher --data test.jsonl weak.jsonl --hidden",
                          "--max-length 6"),
    "label without states": ("label", f"{FAIR} --run teacher --data test.jsonl --hidden",
                             "no --hidden --max-length 6"),
    "evaluate": ("evaluate", f"{FAIR} --run teacher --data test.jsonl weak.jsonl",
                 "--max-length 6"),
    "text": ("attacks text", f"{FAIR} --run teacher --data test.jsonl --limit 6 --batch-size 3 "
             "--methods typos", "--seed 1"),
    "text to a file": ("attacks text", f"{FAIR} --run teacher --data test.jsonl --limit 6 --out "
                       "flips/sst2.jsonl --methods typos", "--seed 1"),
    "extraction": ("attacks extraction", f"{MAIL} --prefix 8 --suffix 8 --seen 8 --candidates 3",
                   "--limit 5"),
    "membership": ("attacks membership", MAIL, "--limit 5"),
    "audit": ("attacks audit", "--run mail", "--confidence .9"),
    "prepare": ("w2s.prepare data", "--task fairness --raw raw --out new --trust .2", "--seed 1"),
    "prepare without trust": ("w2s.prepare data", "--task fairness --raw raw --out new --trust .2",
                              "--trust 0"),
    "plant": ("w2s.prepare plant", "--rate .5 --data wts.jsonl trust.jsonl --out new", "--seed 1"),
    "untrained": ("w2s.prepare model", "--tokenizer model/tokenizer.json --out new --layers 1 "
                  "--hidden 16 --heads 2 --vocab 512", "--seed 1"),
    "world": ("w2s.miniature.__main__ world", "--out new", "--seed 1"),
    "perturbed": ("w2s.miniature.__main__ perturbed", "--out town", ""),
    "pretrain": ("w2s.miniature.__main__", f"{TINY} --out new --runs new/runs", "--lr .01"),
    "publish": ("w2s.miniature.__main__", f"{TINY} --out gone --runs gone/runs", "--lr .01"),
    "publish over": ("w2s.miniature.__main__", f"{TINY} --out old --runs new/runs", "--lr .02"),
    "report": ("w2s.report", "--runs study --draws 100 --data nowhere", "--draws 200"),
    "prepare again": ("w2s.prepare data", "--task fairness --raw raw --out ready", "--seed 1"),
    **AGAIN}
BUILD = (  # what the commands read
    ("train_weak", f"{FAIR} {TRAIN} --model model --data weak.jsonl --out teacher --lam 0"),
    ("label", f"{FAIR} --run teacher --data trust.jsonl wts.jsonl --hidden"),
    ("train_weak", f"--task privacy {TRAIN} --model model --data mails.jsonl --out mail --lam 8 "
     "--canaries 8 --accountant rdp"),
    ("w2s.prepare data", "--task fairness --raw raw --out ready"),
    ("w2s.miniature.__main__", f"{TINY} --out gone --runs gone/runs"),
    ("w2s.miniature.__main__", f"{TINY} --out old --runs old/runs --lr .01"))


def words(command, argv, change=""):
    """(command, its arguments) of a line of COMMANDS, changed: `no --flag` takes a flag away."""
    split = f"{argv} {change}".split()
    if "no" in split:
        split = [word for word in split if word not in ("no", split[split.index("no") + 1])]
    if command == "w2s.miniature.__main__":
        return f"{command} {split[0]}", split[1:]
    return command, split


@pytest.fixture(scope="module")
def crashing():
    with Crashing() as crashing:
        yield crashing


@pytest.fixture(scope="module")
def home(world, fair, crashing, tmp_path_factory):
    """(folder in which commands run, a copy of what they find there)."""
    here = tmp_path_factory.mktemp("crash") / "here"
    for name, source in (("weak", "weak"), ("wts", "wts"), ("trust", "wts"), ("test", "test")):
        found = rows.read(fair / f"{source}.jsonl")[-24:] if name == "trust" else rows.read(
            fair / f"{source}.jsonl")[:24]
        rows.write(here / f"{name}.jsonl", [row | {"split": name} for row in found])
    shutil.copytree(world / "tiny-2x32", here / "model")
    shutil.copytree(world / "raw", here / "raw")
    for name, split in (("mails", "weak"), ("held", "test")):
        rows.write(here / f"{name}.jsonl", memorised.mails(split, 16, len(name)))
    (here / "text.txt").write_text("".join(
        f"{k} warm gardens and a dull harbour\n" for k in range(40)))
    test_report.plant(here / "study", "fairness", test_report.FAIR, seeds=(0,), n=60)
    attacked(here / "town")
    for line in BUILD:
        done(crashing.run(here, *words(*line)))
    shutil.rmtree(here / "gone" / "pythia-14m")
    shutil.copytree(here / "teacher", here / "again")
    for line in AGAIN.values():
        done(crashing.run(here, *words(*line)))
    (here / "ready" / "val.jsonl").unlink()
    for file in ("labels/test.jsonl", "predictions/test.jsonl", "attack-text.json"):
        (here / "again" / file).unlink()
    shutil.copytree(here, here.with_name("home"))
    return here, here.with_name("home")


def attacked(town):
    """What `perturbed` puts together."""
    row = {"id": "r1", "method": "typos", "task": "sst2", "sentence": "teh garden",
           "original_sentence": "the garden", "label": 1}
    for family in ("independent", "weak", "strong"):
        for part in ("words", "remarks"):
            rows.write(town / "world" / "attacked" / family / f"{part}.jsonl", [row])
    rows.write(town / "world" / "victims.jsonl", [
        {"id": "v1", "text": "the garden", "text_adv": "the garden", "label": 1, "source": "sst2"}])


def done(ended):
    assert ended.code == 0 and not ended.err, ended
    return ended


def contents(folder):
    """{path below: bytes, None of a folder}; of logs without the time that a step took."""
    found = {}
    for path in sorted(folder.rglob("*")):
        content = path.read_bytes() if path.is_file() else None
        if path.name == "log.jsonl":
            content = re.sub(rb', "(seconds|tokens_per_second)": [\d.]+', b"", content)
        found[str(path.relative_to(folder))] = content
    return found


def differing(found, wanted):
    """The first few paths at which two contents differ."""
    return [("+" * (path not in wanted) or "-" * (path not in found) or "~") + path
            for path in sorted(found.keys() | wanted.keys())
            if path not in found or path not in wanted or found[path] != wanted[path]][:5]


def renew(here, source):
    shutil.rmtree(here, ignore_errors=True)
    shutil.copytree(source, here)


def cases(name, changes):
    """[(n, how)]: which of a command's changes it does not outlive, and how."""
    killed = [(n, how) for n in range(1, len(changes) + 1) for how in ("kill", "half")]
    full = [(n, "full") for n, change in enumerate(changes, 1) if change.split()[0] in FILLS]
    if EVERY:
        return killed[1::2] + full
    known = [(1 + changes.index(change), how) for how, change in KNOWN.get(name, ())]
    return known + random.Random(f"{SEED} {name}").sample(killed, 1)


@pytest.mark.parametrize("name", COMMANDS)
def test_a_killed_command_is_made_good_by_the_next(name, home, crashing):
    here, source = home
    command, argv, change = COMMANDS[name]
    same, other = words(command, argv), words(command, argv, change)
    renew(here, source)
    whole = done(crashing.run(here, *same))
    wanted = contents(here)
    done(crashing.run(here, *same))
    assert whole.changes and not differing(contents(here), wanted)
    renew(here, source)
    others = contents(here) if crashing.run(here, *other).code == 0 else None
    wrong = []
    for n, how in cases(name, whole.changes):
        renew(here, source)
        ended, left = crashing.run(here, *same, n, how), contents(here)
        found = [unfit(ended, left, wanted, whole.changes[n - 1:]) if how == "full"
                 else ended.code != -9 and ended]
        renew(here.with_name("killed"), here)
        again = crashing.run(here, *same)
        found += [again.code, again.err, differing(contents(here), wanted)]
        if how != "full":
            renew(here, here.with_name("killed"))
            found.append(change and mixed(crashing.run(here, *other), contents(here), left, others))
        if any(found):
            wrong.append(f"{how} {n}, {whole.changes[n - 1]}: {found}")
    assert not wrong, "\n".join(wrong)


def mixed(ended, found, before, others):
    """What is wrong with how a command with other settings than the killed one's ended, which makes
    `others` on its own, None: is refused."""
    if ended.code:
        return refused(ended) or differing(found, before)
    return differing(found, others) if others else "not refused"


def unfit(ended, found, wanted, changes):
    """What is wrong with how a command ended on a disk that was full before `changes`."""
    if ended.code == 0:  # nothing had to be written any more
        return differing(found, wanted)
    names = (change.rsplit("/", 1)[1].removeprefix(".").removesuffix(".part") for change in changes)
    if not any(name in ended.err for name in names):
        return f"names no file: {ended.err}"
    left = [path for path in found if path not in wanted and path.rsplit("/", 1)[-1] != ".lock"
            and found[path] is not None and not any(kept in path for kept in KEPT)]
    return refused(ended) or left or None


def refused(ended):
    """Unless a command ended with code 1 and one line, how it ended."""
    lines = ended.err.splitlines()
    if ended.code != 1 or len(lines) != 1 or not lines[0].startswith("error: ") or (
            "unexpected" in lines[0]):
        return f"{ended.code} {ended.err[:400]}"


def test_a_finished_run_stays_finished_while_its_model_is_published_again(home, crashing):
    here, source = home
    command = words(*COMMANDS["publish"][:2])
    renew(here, source)
    for n in range(1, 1 + len(done(crashing.run(here, *command)).changes)):
        renew(here, source)
        assert crashing.run(here, *command, n).code == -9
        assert (here / "gone" / "runs" / "pythia-14m" / "DONE").exists(), n


def test_batches_of_an_attack_that_say_not_how_they_were_made_are_not_used(home, crashing):
    """Killed while it removed them, an attack can leave some without their settings."""
    here, source = home
    command = words(*COMMANDS["text"][:2])
    renew(here, source)
    done(crashing.run(here, *command))
    wanted = contents(here)
    renew(here, source)
    rows.write(here / "teacher" / "attacks" / ".text" / "0.jsonl", [
        {"id": str(k), "right": True, "attacks": {"typos": [None, 1]}} for k in range(3)])
    done(crashing.run(here, *command))
    assert not differing(contents(here), wanted)


def test_a_report_that_cannot_be_written_whole_is_not_written(home, crashing):
    here, source = home
    command = words(*COMMANDS["report"][:2])
    renew(here, source)
    changes = done(crashing.run(here, *command)).changes
    last = max(n for n, change in enumerate(changes, 1) if change.startswith("write"))
    renew(here, source)
    assert not refused(crashing.run(here, *command, last, "full"))
    assert not differing({path: content for path, content in contents(here).items()
                          if path != "study/figures"}, contents(source))


def waits(lock):
    """Whether a process waits for a lock."""
    with open("/proc/locks") as file:
        return any("->" in line and f":{lock.stat().st_ino} " in line for line in file)


def test_of_two_that_prepare_one_folder_neither_removes_what_the_other_made(home, crashing):
    here, source = home
    command = words(*COMMANDS["prepare"][:2])
    renew(here, source)
    done(crashing.run(here, *command))
    shutil.move(here / "new", here / "made")
    (here / "new").mkdir()
    locks.hold(here / "new")
    with ThreadPoolExecutor() as pool:
        second = pool.submit(crashing.run, here, *command)
        while not (waits(here / "new" / ".lock") or second.done()):
            time.sleep(.01)
        shutil.copytree(here / "made", here / "new", dirs_exist_ok=True)
        locks.release()
    ended = second.result()
    assert "waiting for another process" in ended.out and not refused(ended)
    assert "another process prepared it meanwhile" in ended.err
    assert contents(here / "new") == contents(here / "made")
