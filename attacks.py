#!/usr/bin/env python3
"""Attack finished runs: what a language model kept of its emails, what flips a classifier.

    python attacks.py extraction --task privacy --run runs/mine/weak --data weak.jsonl test.jsonl
    python attacks.py membership --task privacy --run runs/mine/weak --data weak.jsonl test.jsonl
    python attacks.py text       --task adversarial --run runs/mine/weak --data test.jsonl
    python attacks.py audit      --run runs/audited

`extraction` shows the model the beginning of an email and counts how much of what follows it writes
down as it was; `membership` guesses from log-probabilities which emails it was trained on; `text`
perturbs texts until a classifier's answer flips; `audit` bounds the epsilon of a private run from
below, by the canaries it was trained with. Results: RUN/attack-<name>.json and RUN/attacks/.
`python attacks.py extraction --help` says more, as it does for the others.
"""

from importlib import import_module

from w2s import config

NAMES = ("extraction", "membership", "audit", "text")


def command(name):
    """(main, Config, text for --help) of an attack, whose module takes long to import."""
    module = import_module(f"w2s.attacks.{name}")
    return getattr(module, name), getattr(module, name.capitalize()), module.__doc__


if __name__ == "__main__":
    config.dispatch("attacks.py", {name: lambda name=name: command(name) for name in NAMES},
                    __doc__)
