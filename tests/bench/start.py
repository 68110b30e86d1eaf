"""Section start: from the command to the first useful line, in fresh processes.

`import w2s` and --help of every script, beside the bare interpreter and torch; a whole command of
one training step of the miniature's weak model, beside torch's import; then loading a model folder
by pythia.load and by transformers' from_pretrained, the load alone, imports apart. peak MB is the
largest resident size of the whole process, imports included.
"""

import json
import tempfile
from pathlib import Path

from tests.bench import machine, models, processes
from tests.bench.harness import Table
from w2s.model import checkpoint

MODULES = ("w2s.prepare", "w2s.miniature", "w2s.report", "w2s.scheduler")
TOKENIZER = machine.ROOT / "w2s" / "models" / "mini-weak" / "tokenizer.json"
LOAD = {"ours": "from w2s import pythia as of\nof.load\ndef go(): return of.load(folder, 'lm')",
        "hf-shipped": "from transformers import GPTNeoXForCausalLM as of\n"
                      "def go(): return of.from_pretrained(folder)"}
TIMING = ("import sys, time\nfolder = sys.argv[1]\n{}\nstart = time.perf_counter()\nm = go()\n"
          "print(time.perf_counter() - start)")


def scripts():
    """{title: words} of --help of everything that has one."""
    found = {f"{path.name} --help": processes.python(path.name, "--help")
             for path in sorted(machine.ROOT.glob("*.py"))}
    found |= {f"-m {name} --help": processes.python("-m", name, "--help") for name in MODULES}
    return found | {"run_all.sh --help": ["bash", "run_all.sh", "--help"]}


def starts(rounds):
    code = {"python": "pass", "import w2s": "import w2s", "import torch": "import torch",
            "import w2s.training": "import w2s.training"}
    if not models.missing("transformers"):
        code["import transformers"] = "import transformers"
    commands = {title: processes.python("-c", line) for title, line in code.items()} | scripts()
    rows = processes.alternating(commands, rounds)
    return Table("start", "imports and --help", ["variant", "s", "IQR", "peak MB"], rows)


def training(rounds):
    """train_weak.py from the command to its end, one step on eight rows."""
    with tempfile.TemporaryDirectory() as name:
        rows, out = Path(name) / "rows.jsonl", Path(name) / "run"
        rows.write_text("".join(json.dumps(dict(id=f"r{i}", text=f"She is {i}.", label=i % 2,
                                                a=i // 2 % 2)) + "\n" for i in range(8)))
        words = processes.python("train_weak.py", "--task", "fairness", "--model", TOKENIZER.parent,
                                 "--data", rows, "--out", out)
        one = ["sh", "-c", f'rm -rf {out}; exec "$@"', "sh", *words]
        found = processes.alternating({"import torch": processes.python("-c", "import torch"),
                                       "one step": one}, rounds, "one step")
    return Table("start", "train_weak.py, one step", ["variant", "s", "IQR", "x one step",
                                                      "peak MB"], found)


def loads(shape, rounds):
    """The load alone, timed inside of each process."""
    with tempfile.TemporaryDirectory() as name:
        checkpoint.save(checkpoint.untrained(models.config_of(shape), 0), Path(name), TOKENIZER)
        commands = {title: processes.python("-c", TIMING.format(code), name)
                    for title, code in LOAD.items()
                    if title == "ours" or not models.missing("transformers")}
        rows = processes.alternating(commands, rounds, "ours", lambda said: float(said.split()[-1]))
    return Table("start", f"loading a folder, pythia-{shape}, language model, float32",
                 ["variant", "s", "IQR", "x ours", "peak MB"], rows)


def tables(setting, args):
    rounds = min(5, args.rounds)
    return [starts(rounds), training(rounds), *(loads(shape, rounds) for shape in args.shape)]
