"""Invented mails, and runs of tiny language models that know some of them by heart."""

import random
import re
import shutil

import pytest
import torch

from tests.conftest import read_json
from w2s import config, rows
from w2s.model import checkpoint, tokenization

LETTERS = "ghijklmnopqrstuvwxyz"  # none that a hash has


def mails(split, n, seed, words=10):
    """n rows of words of random letters with a number of five digits, which `secrets` marks, after
    the third word."""
    draw, found = random.Random(seed), []
    for i in range(n):
        said = ["".join(draw.choices(LETTERS, k=5)) for _ in range(words)]
        start, code = " ".join(said[:3]) + " ", f"{draw.randrange(10 ** 5):05d}"
        found.append({"id": f"{split}{i}", "group": f"{split}{i}", "split": split,
                      "text": f"{start}{code} {' '.join(said[3:])}",
                      "secrets": [[len(start), len(start) + len(code)]]})
    return found


def run(folder, base, script, file, member=(), steps=0, seen=48):
    """A finished run folder: the model of `base` after `steps` of Adam on the first `seen` tokens
    of the rows `member`, and on them from the 13th on; it reads 48."""
    model, tokenizer = checkpoint.load(base, "lm"), tokenization.load_tokenizer(base)
    if steps:
        ids = tokenization.tokenize(tokenizer, [row["text"] for row in member], seen)
        ids += [row[12:] for row in ids]
        padded = torch.zeros(len(ids), max(map(len, ids)), dtype=torch.int64)
        mask = torch.zeros(padded.shape)
        for i, row in enumerate(ids):
            padded[i, :len(row)], mask[i, :len(row)] = torch.from_numpy(row).long(), 1
        optimizer = torch.optim.Adam(model.parameters(), 1e-2)
        for _ in range(steps):
            optimizer.zero_grad()
            (model.nll(padded, mask.sum(1).long(), mask).sum() / mask[:, 1:].sum()).backward()
            optimizer.step()
    checkpoint.save(model, folder / "model", base / "tokenizer.json")
    key = {"train_weak.py": "data", "train_student.py": "labels"}[script]
    rows.write_json(folder / "config.json", {
        "script": script, "args": {"task": "privacy", "max_length": 48, "model": str(base),
                                   key: str(file)},
        "inputs": {str(path): rows.sha256(path) for path in (base, file)}})
    (folder / "DONE").touch()


def make(out, world):
    """weak, wts, test.jsonl in `out`, and the runs knows (weak.jsonl by heart), base (untuned) and
    student (of wts.jsonl it knows the first 24 tokens)."""
    base = out / "tiny"
    shutil.copytree(world / "tiny-2x32", base)
    parts = {"weak": mails("weak", 8, 1), "wts": mails("wts", 6, 2), "test": mails("test", 24, 3)}
    parts["test"] += [row | {"split": "test", "source": "pile"} for row in mails("pile", 3, 4)]
    for name, found in parts.items():
        rows.write(out / f"{name}.jsonl", found)
    run(out / "knows", base, "train_weak.py", out / "weak.jsonl", parts["weak"], 90)
    run(out / "base", base, "train_weak.py", out / "weak.jsonl")
    labels = out / "labels.jsonl"
    rows.write(labels, [row | {"weak_text": "", "weak_from": 0} for row in parts["wts"]])
    run(out / "student", base, "train_student.py", labels, parts["wts"], 90, 24)
    return out


def copy(home, to):
    """A copy of `home` in which nothing was attacked; its configurations name the copied files."""
    shutil.copytree(home, to, ignore=shutil.ignore_patterns("attack*", ".lock"))
    for name in ("knows", "base", "student"):
        found = read_json(to / name / "config.json")
        for key in {"data", "labels", "model"} & found["args"].keys():
            found["args"][key] = str(to / found["args"][key].rsplit("/", 1)[1])
        found["inputs"] = {str(to / path.rsplit("/", 1)[1]): digest
                           for path, digest in found["inputs"].items()}
        rows.write_json(to / name / "config.json", found)
    return to


def argv(home, names, *more, data=("weak", "wts", "test")):
    """Arguments of an attack on runs of `home`."""
    return [str(a) for a in ("--task", "privacy", "--run", *(home / name for name in names),
                             "--data", *(home / f"{name}.jsonl" for name in data), *more)]


def attacker(capsys, command, Config, *always):
    """attack(home, [runs], *more) -> (exit code, stdout, stderr) of a command of attacks.py."""
    def attack(home, names, *more, data=("weak", "wts", "test")):
        code = 0
        try:
            config.launch(command, Config, command.__doc__,
                          argv(home, names, *always, *more, data=data))
        except SystemExit as exit:
            code = exit.code or 0
        return (code, *capsys.readouterr())
    return attack


def measured(run, kind):
    """{(slice, metric): value} of attack-<kind>.json."""
    return {(m["slice"], m["metric"]): m["value"]
            for m in read_json(run / f"attack-{kind}.json")["metrics"]}


def assert_no_text(home, shown):
    """No word or number of a mail is in what was shown, or in a file that an attack wrote; the
    lines of the rows hold no lists, such as of tokens."""
    each = [*home.glob("*/attacks/*")]
    shown += "".join(path.read_text() for path in [*home.glob("*/attack-*.json"), *each])
    words = {word for name in ("weak", "wts", "test") for row in rows.read(home / f"{name}.jsonl")
             for word in row["text"].split()}
    assert len(words) > 200 and each and words.isdisjoint(re.findall(r"\w+", shown))
    assert not [word for word in words if word.isalpha() and word in shown]
    assert not [value for path in each for row in rows.read(path) for value in row.values()
                if isinstance(value, (list, dict))]


@pytest.fixture(scope="module")
def home(world, tmp_path_factory):
    return make(tmp_path_factory.mktemp("mails"), world)


@pytest.fixture
def fresh(home, tmp_path):
    """A copy of home in which nothing has been attacked."""
    return copy(home, tmp_path / "home")
