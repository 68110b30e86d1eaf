"""Good inputs of every command that reads files, for tests/test_bad_input.py: `commands`, and the
folders that they start in, one of each task and a few more, which `build` makes."""

import os
import shutil
from functools import partial
from typing import NamedTuple

from tests import spoil
from w2s import rows

RAW = {"fairness": ("adult.data",), "ood": ("SST-2", "style.json"), "adversarial": ("alpaca.json",),
       "privacy": ("mails.jsonl",), "mcqa": ("mmlu.jsonl",), "arithmetic": ("gsm8k_train.jsonl",),
       "game": ("town_stones.jsonl",)}
TINY = "--max-length 48 --batch-size 8"
LAM = {"fairness": "--lam 1", "ood": "--lam 0.1", "adversarial": "--lam 0.5",
       "privacy": "--lam 0"}
RUN = ("run/config.json", "run/DONE", "run/model/*", "data/weak.jsonl", "run")


class Command(NamedTuple):
    """A command, as it is started in a copy of the folder `world`; the files that it reads; what it
    may change or make."""
    world: str
    script: str
    words: list
    files: tuple
    writes: str


# ---- commands ------------------------------------------------------------------------------------

def commands():
    """{name: Command} of all that read files."""
    found = {}

    def add(name, world, script, words, files, writes="new"):
        found[name] = Command(world, script, words.split(), files, writes)
    for task in RAW:
        of_task(partial(add, world=task), task, f"--task {task}",
                f"{TINY} {LAM.get(task, '')}".strip())
    for kind in ("properties", "trusted", "private"):
        add(f"report {kind}", "reports", "w2s.report", f"--runs {kind} --data data --draws 100 "
            "--figures no", (f"{kind}/*/*/*/*", f"{kind}/*/*/*/*/*", "data/*/*", kind,
                             f"{kind}/*/seed0/*"), kind)
    add("model", "fairness", "w2s.prepare model", "--tokenizer tokenizer.json --out new --layers 1 "
        "--hidden 16 --heads 2 --vocab 512", ("tokenizer.json",))
    town = "w2s.miniature.__main__"
    add("pretrain", "town", f"{town} pretrain", "--text text.txt text.jsonl --tokenizer "
        "tokenizer.json --layers 1 --hidden 16 --heads 2 --steps 3 --length 16 --batch-size 2 "
        "--out new --runs runs", ("text.txt", "text.jsonl", "tokenizer.json"), "new runs")
    add("perturbed", "town", f"{town} perturbed", "--out .", ("world/**/*",), "raw")
    add("experiment", "town", "w2s.experiment", "smoke --dry-run --recipe recipe.txt --synonyms "
        "synonyms.json --raw world", ("recipe.txt",))
    add("pool", "fairness", "w2s.scheduler", "--file commands.txt", ("commands.txt",))
    return found


def of_task(add, task, at, train):
    """The commands of one task, in its folder."""
    data, weak = f"{at} --data data", f"{at} --model model --data data/weak.jsonl"
    labels = ("run/labels/wts.jsonl", "run/labels/wts.jsonl.meta.json")
    add(f"{task}: prepare", script="w2s.prepare data", words=f"{at} --raw raw --out new",
        files=("raw/**/*",))
    add(f"{task}: prepared", script="w2s.prepare data", words=f"{at} --raw raw --out data "
        "--limit 24 --trust 0.25", files=("data/*",), writes="data")
    add(f"{task}: check", script="w2s.prepare check", words=data, files=("data/*.jsonl", "data"))
    add(f"{task}: train", script="train_weak.py", words=f"{weak} --out new {train} --epochs 1",
        files=("data/weak.jsonl", "model/*", "model"))
    add(f"{task}: go on", script="train_weak.py", words=f"{weak} --out begun {train} --epochs 2 "
        "--save-every 0.3", files=("begun/*",), writes="begun")
    add(f"{task}: again", script="train_weak.py", words=f"{weak} --out run {train} --epochs 1",
        files=("run/*",), writes="run")
    add(f"{task}: label", script="label.py", words=f"{at} --run run --data data/test.jsonl",
        files=("data/test.jsonl", *RUN), writes="run")
    add(f"{task}: label again", script="label.py", words=f"{at} --run run --data data/wts.jsonl",
        files=labels, writes="run")
    add(f"{task}: student", script="train_student.py", words=f"{at} --model model --labels "
        f"run/labels/wts.jsonl --out new {train} --epochs 1", files=(*labels, *RUN[:2], RUN[3]))
    add(f"{task}: evaluate", script="evaluate.py", words=f"{data}/val.jsonl --run run",
        files=("data/val.jsonl", "run/eval.json", *RUN), writes="run")
    if task in ("fairness", "adversarial"):
        add(f"{task}: text", script="attacks.py text", words=f"{at} --run run --data "
            "data/test.jsonl --limit 12 --synonyms synonyms.json", writes="run", files=(
                "data/test.jsonl", "synonyms.json", *RUN))
    if task == "fairness":
        add("shards", script="train_weak.py", words=f"{weak} --model shards --out new {train} "
            "--epochs 0", files=("shards/*",))
        add("text again", script="attacks.py text", words=f"{at} --run attacked --data "
            "data/test.jsonl --limit 4", files=("attacked/attack*",), writes="attacked")
    if task == "privacy":
        of_mail(add, at)
    if task in ("mcqa", "arithmetic"):
        of_trust(add, task)
    if task == "arithmetic":
        add("grpo", script="train_student.py", words=f"{at} --model model --labels "
            f"run/labels/wts.jsonl --out new {train} --epochs 0.3 --objective grpo --group 2 "
            "--new-tokens 8", files=(*labels, "run/config.json"))


def of_mail(add, at):
    """Attacks on language models."""
    emails = f"{at} --data data/weak.jsonl data/test.jsonl --limit 6"
    files = ("data/test.jsonl", "model/*", *RUN)
    for name, more in (("extraction", "--prefix 8 --suffix 4 --seen 12"),
                       ("membership", "--reference model")):
        add(name, script=f"attacks.py {name}", words=f"{emails} {more} --run run", files=files,
            writes="run")
        add(f"{name} again", script=f"attacks.py {name}", words=f"{emails} {more} --run attacked",
            files=("attacked/attack*",), writes="attacked")
    add("audit", script="attacks.py audit", words="--run audited", writes="audited",
        files=("audited/config.json", "audited/DONE", "audited/canaries.safetensors"))
    add("private", script="train_weak.py", words=f"{at} --model model --data data/weak.jsonl "
        f"--out new {TINY} --lam 8 --epochs 1", files=("data/weak.jsonl", "model/*"))
    add("go on in private", script="train_weak.py", words=f"{at} --model model --data "
        f"data/weak.jsonl --out secret {TINY} --lam 8 --epochs 2 --save-every 0.3 --canaries 8",
        files=("secret/*",), writes="secret")


def of_trust(add, task):
    """Trust functions and what they are compared with."""
    choose = ("--teacher run --labelled run/labels/trust.jsonl --pool run/labels/wts.jsonl "
              "--out new --draws 100")
    files = ("run/labels/*", *RUN)
    for name, more, read in (
            ("ntf", "--epochs 2 --features both", files), ("margin", "--select margin", files),
            ("reward", "--select reward --reward reward.jsonl", ("reward.jsonl", "run/labels/*")),
            ("verifier", "--select reward --reward-epochs 1", (*files, "run/model/*")),
            ("examples", "--select icl-confidence", (*files, "model/*")),
            ("consistency", "--select consistency --samples 2", (*files, "run/model/*")),
            ("agreement", "--select agreement --second second/labels/wts.jsonl",
             ("second/labels/*", "second/config.json", "run/labels/*")),
            ("scores", "--select file --scores scores.jsonl --name mine",
             ("scores.jsonl", "run/labels/*"))):
        add(f"{task}: {name}", script="train_ntf.py", words=f"{choose} {more}", files=read)
    add(f"{task}: plant", script="w2s.prepare plant", words="--rate 0.5 --data data/trust.jsonl "
        "data/wts.jsonl --out new", files=("data/trust.jsonl", "data/wts.jsonl"))
    tree = f"runs/{task}/seed0"
    add(f"{task}: mechanisms", script="w2s.mechanisms", words=f"--runs runs --task {task} --out "
        "new --compare student:student --limit 8 --draws 100", files=(
            "run/labels/wts.jsonl", f"{tree}/*/*", f"{tree}/*/model/*", f"{tree}/*/predictions/*"))
    if task == "mcqa":
        add("own", script="train_ntf.py", words=f"{choose} --ntf ntf",
            files=("ntf/*", "run/labels/wts*"))
    add(f"{task}: chosen", script="train_student.py", words=f"--task {task} --model model --labels "
        f"ntf/labels/wts.jsonl --out new {TINY} --epochs 1",
        files=("ntf/labels/*", "ntf/config.json", "run/config.json"))


# ---- worlds: a folder of good inputs for the commands of each task -------------------------------

def build(home, made, log):
    """Fill `home` with the folders that the commands start in; made: the world of the tests."""
    environment(home)

    def call(world, script, words, before=None, good=(0,)):
        os.chdir(home / world)
        code, err, _ = spoil.watched(script, words.split(), log, before)
        assert code in good, f"{script} {words}: {code} {err}"
    for task, names in RAW.items():
        begin(home / task, made, names)
        at, train = f"--task {task}", f"{TINY} {LAM.get(task, '')}"
        weak = f"{at} --model model --data data/weak.jsonl {train}"
        call(task, "w2s.prepare data", f"{at} --raw raw --out data --limit 24 --trust 0.25")
        call(task, "train_weak.py", f"{weak} --out run --epochs 1")
        call(task, "train_weak.py", f"{weak} --out begun --epochs 2 --save-every 0.3", stop, (130,))
        hidden = "" if task == "privacy" else " --hidden"
        call(task, "label.py", f"{at} --run run --data data/wts.jsonl data/trust.jsonl{hidden}")
        call(task, "evaluate.py", f"{at} --run run --data data/test.jsonl")
    every = commands()
    for task in ("mcqa", "arithmetic"):
        call(task, "train_ntf.py", " ".join(every[f"{task}: ntf"].words).replace("new", "ntf"))
        measurable(home / task, partial(call, task), task)
        rows.write(home / task / "reward.jsonl", [
            {"id": row["id"], "reward": n / 9} for n, row in enumerate(rows.read(
                home / task / "data" / "wts.jsonl"))])
        rows.write(home / task / "scores.jsonl", [
            {"id": row["id"], "score": row["reward"]}
            for row in rows.read(home / task / "reward.jsonl")])
        second(home / task)
    secret = f"{TINY} --lam 8 --save-every 0.3 --canaries 8"
    call("privacy", "train_weak.py", f"--task privacy --model model --data data/weak.jsonl --out "
         f"audited {secret} --epochs 1")
    call("privacy", "train_weak.py", f"--task privacy --model model --data data/weak.jsonl --out "
         f"secret {secret} --epochs 2", stop, (130,))
    for task, name in (("fairness", "text"), ("privacy", "extraction"), ("privacy", "membership")):
        if not (home / task / "attacked").exists():
            shutil.copytree(home / task / "run", home / task / "attacked")
        call(task, f"attacks.py {name}", " ".join(every[f"{name} again"].words))
    in_shards(home / "fairness" / "model", home / "fairness" / "shards")
    (home / "fairness" / "commands.txt").write_text(
        "# first\npython -m w2s.prepare --help  # look\n# then\npython -m w2s.prepare --help\n")
    reports(home / "reports", home)
    town(home / "town", made)
    for path in home.rglob(".lock"):
        path.unlink()


def second(world):
    """Another teacher, whose labels are others."""
    shutil.copytree(world / "run", world / "second", ignore=shutil.ignore_patterns("*.safetensors"))
    path = world / "second" / "labels" / "wts.jsonl"
    rows.write(path, [row | ({"weak": row["weak"][::-1]} if "weak" in row else {"weak_text": " 7"})
                      for row in rows.read(path)])


def environment(home):
    """What every command finds in its environment."""
    import torch
    torch.set_num_threads(1)
    os.environ.pop("W2S_DEBUG", None)
    os.environ |= {"HF_HUB_OFFLINE": "1", "HF_HOME": str(home / "hub"), "OMP_NUM_THREADS": "1",
                   "TOKENIZERS_PARALLELISM": "false", "COLUMNS": "400",
                   "PYTHONPATH": str(spoil.ROOT)}


def begin(world, made, names):
    """A folder with raw files of these names, a model, a tokenizer and synonyms."""
    for name in names:
        (world / "raw").mkdir(parents=True, exist_ok=True)
        source = made / "raw" / name
        (shutil.copytree if source.is_dir() else shutil.copyfile)(source, world / "raw" / name)
    shutil.copytree(made / "tiny-2x32", world / "model")
    shutil.copyfile(made / "tokenizer.json", world / "tokenizer.json")
    rows.write_json(world / "synonyms.json", {"warm": ["mild", "hot"], "harbour": ["port"]})


def measurable(world, call, task):
    """The tree that w2s.mechanisms reads: a choice of labels, an untuned student, a measured one.
    """
    tree = world / "runs" / task / "seed0"
    tree.mkdir(parents=True)
    shutil.copytree(world / "ntf", tree / "trust-ntf")
    call("train_weak.py", f"--task {task} --model model --data data/weak.jsonl {TINY} --epochs 0 "
         f"--out {tree.relative_to(world)}/base-strong")
    shutil.copytree(world / "run", tree / "student")


def stop():
    """Interrupt a run at its end, where there is a checkpoint of it."""
    from w2s import runs

    def interrupted(self):
        raise KeyboardInterrupt
    runs.Run.finish = interrupted


def in_shards(model, out):
    """The model's folder, its tensors in two files."""
    from safetensors.torch import load_file, save_file
    shutil.copytree(model, out)
    (out / "model.safetensors").unlink()
    found, places = load_file(model / "model.safetensors"), {}
    for k, name in enumerate(sorted(found)):
        places[name] = f"model-0000{1 + k % 2}-of-00002.safetensors"
    for file in {*places.values()}:
        save_file({name: found[name] for name in found if places[name] == file}, out / file,
                  {"format": "pt"})
    rows.write_json(out / "model.safetensors.index.json", {
        "metadata": {"total_size": 4 * sum(x.numel() for x in found.values())},
        "weight_map": places})


def reports(world, home):
    """Three small trees of finished runs, of properties, trust functions and language models."""
    from tests.report import test_privacy_statement, test_report, test_trust_results
    test_report.plant(world / "properties", "fairness", test_report.FAIR, (0,), 24)
    test_trust_results.students(world / "trusted", seeds=(0,))
    test_trust_results.choices(world / "trusted", seeds=(0,))
    test_privacy_statement.write(world / "private", test_privacy_statement.PLANTED, (0,))
    for task in ("fairness", "mcqa", "privacy"):
        (world / "data" / task).mkdir(parents=True)
        shutil.copyfile(home / task / "data" / "manifest.json",
                        world / "data" / task / "manifest.json")


def town(world, made):
    """Text to pretrain on, attacks on the town's victims, a recipe."""
    from w2s.miniature.world import FAMILIES
    begin(world, made, ())
    texts = [f"the {word} garden is warm and the {word} harbour is dull"
             for word in "abcdefghijklmnopqrstuvwxyz"]
    (world / "text.txt").write_text("\n".join(texts[:13]) + "\n")
    rows.write(world / "text.jsonl", [{"text": text} for text in texts[13:]])
    rows.write(world / "world" / "victims.jsonl", [
        {"id": "v1", "text": "sentence: the harbour is warm", "text_adv": "x", "label": 1,
         "source": "sst2"}])
    for folder in FAMILIES:
        for part in ("words", "remarks"):
            rows.write(world / "world" / "attacked" / folder / f"{part}.jsonl", [
                {"id": "v1/typos", "task": "sst2", "sentence": "teh harbour is warm",
                 "original_sentence": "the harbour is warm", "label": 1, "method": "typos",
                 "model": "x", "result": "successful", "queries": 9}])
    (world / "recipe.txt").write_text(
        "# task run flag value\nfairness weak --lr 1e-3\n* student --epochs 2  # more\n"
        "ood weak-tft --lam 0.1\nfairness ceiling grid 0.5 2\n* data --limit 100\n")


def files_of(command, home):
    """The files and folders that a command reads, below its world, in a fixed order."""
    world = home / command.world
    return sorted({path.relative_to(world) for pattern in command.files
                   for path in world.glob(pattern) if path.name != ".lock"})
