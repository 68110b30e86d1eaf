#!/usr/bin/env python3
"""Attack finished runs: what a language model kept of its mails, what flips a classifier.

    python attacks.py extraction --task privacy --run runs/mine/weak --data weak.jsonl test.jsonl
    python attacks.py membership --task privacy --run runs/mine/weak --data weak.jsonl test.jsonl
    python attacks.py text       --task adversarial --run runs/mine/weak --data test.jsonl
    python attacks.py audit      --run runs/audited

`extraction` shows the model the beginning of a mail and counts how much of what follows it writes
down as it was; `membership` guesses from log-probabilities which mails it was trained on; `text`
perturbs texts until a classifier's answer flips; `audit` bounds the epsilon of a private run from
below, by the canaries it was trained with. Results: RUN/attack-<name>.json and RUN/attacks/.
`python attacks.py extraction --help` says more, as it does for the others.
"""

from w2s import config
from w2s.attacks import audit, extraction, membership, text

COMMANDS = {"extraction": (extraction.extraction, extraction.Extraction, extraction.__doc__),
            "membership": (membership.membership, membership.Membership, membership.__doc__),
            "audit": (audit.audit, audit.Audit, audit.__doc__),
            "text": (text.text, text.Text, text.__doc__)}


if __name__ == "__main__":
    config.dispatch("attacks.py", COMMANDS, __doc__)
