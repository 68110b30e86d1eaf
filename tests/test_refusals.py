"""Every message of a `raise` is looked for by a test; here also those that no other file has.

    python -m pytest -q tests/test_refusals.py
"""

import ast
from pathlib import Path

import pytest
import torch

from tests.dp.test_sgd import plan
from w2s import device, metrics, scheduler
from w2s.attacks import text as attack
from w2s.data import splits
from w2s.dp import private_run
from w2s.train import grpo

ROOT = Path(__file__).parent.parent
FILES = sorted([*ROOT.glob("*.py"), *ROOT.glob("w2s/**/*.py")])
WIDTH = 10  # characters of a message that have to stand in a test


def strings(node):
    return [part.value for part in ast.walk(node)
            if isinstance(part, ast.Constant) and isinstance(part.value, str)]


def test_every_message_is_looked_for():
    """A message of which some part of WIDTH characters, between what is put into it, stands in no
    string of the tests is one that no test looks at. Shorter parts are those of other messages."""
    looked_for = "\n".join(text.replace("\\", "") for path in ROOT.glob("tests/**/test_*.py")
                           for text in strings(ast.parse(path.read_text())))
    missing = [f"{path.relative_to(ROOT)}:{node.lineno}" for path in FILES
               for node in ast.walk(ast.parse(path.read_text()))
               if isinstance(node, ast.Raise) and node.exc is not None
               and (long := [text for text in strings(node.exc) if len(text) >= WIDTH])
               and not any(text[i:i + WIDTH] in looked_for
                           for text in long for i in range(len(text) - WIDTH + 1))]
    assert not missing


@pytest.mark.parametrize("name, words", [
    ("mps", "--device mps: this machine has no Apple GPU"),
    ("cpu:1", "--device cpu:1: only cpu, cuda and mps are supported"), ("tpu9", "no such device"),
    ("cuda:99", "this machine has no usable CUDA device|cuda:99")])
def test_a_device_that_is_not_there_is_named(name, words):
    with pytest.raises(ValueError, match=words):
        device.setup(name, "float32")


@pytest.mark.parametrize("name, there", [("cuda:2", 2), ("cuda:1", 1), ("cuda:9", 2)])
def test_cards_are_counted_from_0(name, there, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: there)
    with pytest.raises(ValueError) as error:
        device.setup(name)
    assert str(error.value) == (f"--device {name}: this machine has {there} CUDA device(s), "
                                "counted from 0")


def test_columns_of_other_lengths_are_named():
    with pytest.raises(ValueError, match="has 2 rows, .* has 3"):
        metrics.auc([.1, .2, .3], [0, 1])


def test_a_list_without_commands_is_refused(tmp_path):
    (tmp_path / "list").write_text("# a phase\n\n")
    with pytest.raises(ValueError, match="list: no commands"):
        scheduler.read(tmp_path / "list")


def test_an_id_twice_in_a_split_is_refused():
    rows = [{"id": "a", "text": "one", "group": "g"}, {"id": "a", "text": "two", "group": "g"}]
    with pytest.raises(ValueError, match="an id occurs twice in the weak split"):
        splits.check({"weak": rows})


def test_counts_of_another_checkpoint_are_refused():
    p = plan(10, 2)
    state = p.state_dict()
    p.load_state_dict(state)
    with pytest.raises(ValueError, match="its counts are none"):
        p.load_state_dict(state | {"counts": torch.zeros(3, dtype=torch.int64)})


def test_perturbed_texts_do_not_overwrite_the_data(tmp_path):
    cfg = attack.Text(task="ood", run=["r"], data=str(tmp_path / "a"), out=f"{tmp_path}/./a")
    with pytest.raises(ValueError, match="--out .*: would overwrite --data"):
        attack.text(cfg)
    cfg.out = str(tmp_path)
    with pytest.raises(ValueError, match="--out .*: a folder; give a file"):
        attack.text(cfg)


def test_a_loss_that_mixes_rows_is_not_made_private():
    with pytest.raises(ValueError, match="--alpha with DP: the confidence loss hardens by a"):
        private_run.make_step(None, None, None, None, 8, 5, private=plan(10, 2),
                          hardening={"x": None})


@pytest.mark.parametrize("name, value", [("group", 1), ("new_tokens", 0), ("temperature", 0),
                                         ("clip", 0), ("beta", -1), ("updates", 0)])
def test_grpo_without_meaning_is_refused(name, value):
    good = {"group": 2, "new_tokens": 1, "temperature": 1, "clip": .2, "beta": 0, "updates": 1}
    grpo.require(**good)
    with pytest.raises(ValueError, match=f"GRPO: {name} .* is required"):
        grpo.require(**good | {name: value})
