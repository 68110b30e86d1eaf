"""Which run trains which model on which rows, with which seed, lambda and alpha: the whole plan of
every preset, held to tables that were written by hand from the papers.

    python -m pytest -q tests/test_wiring.py

Sun et al. (arXiv 2501.00418): sections 3.2 (the strategies), 4 (Baselines: the ceiling), A.2 (its
lambda, lambda of weak model and student), C.1 (which model learns from which rows). Uzunoglu et al.
(arXiv 2606.01000): method (teacher, trust function, student) and the chain. What a recipe sets
(passes, learning rates) is written here a second time, as it should reach each run.
"""

import shlex
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

from w2s import experiment, phases, recipes, scheduler, tasks

CLASSES = ("fairness", "ood", "adversarial")
QUESTIONS = ("mcqa", "arithmetic", "game")
MODELS = {"miniature": {"WEAK": "w2s/models/mini-weak", "STRONG": "w2s/models/mini-strong",
                        "LARGE": "w2s/models/mini-strong-large"},
          "paper": {"WEAK": "EleutherAI/pythia-14m", "STRONG": "EleutherAI/pythia-410m",  # 4.1
                    "LARGE": "EleutherAI/pythia-1b"},
          "real": {"WEAK": "data/real/models/weak/real-2x64",
                   "STRONG": "data/real/models/strong/real-4x192",
                   "LARGE": "data/real/models/large/real-6x256"},
          "smoke": {"WEAK": "data/smoke/tiny-2x32", "STRONG": "data/smoke/tiny-3x64",
                    "LARGE": "data/smoke/tiny-3x64"}}

# run, model, rows that it learns from, lambda, alpha. D_W is weak.jsonl; a student's rows are D_WTS
# with the labels of the run that is named, or of these the ones that a run chose. W, S, C, A: the
# numbers below for weak model, student, ceiling and alpha.
STRATEGIES = """
weak-none                STRATEGY-NONE  WEAK    D_W             0  -
weak-tft                 WEAK-AND-BOTH  WEAK    D_W             W  -
ceiling-none             STRATEGY-NONE  STRONG  D_W             0  -
ceiling-tft              WEAK-AND-BOTH  STRONG  D_W             C  -
student-naive-none       STRATEGY-NONE  STRONG  weak-none       0  0
student-aux-none         STRATEGY-NONE  STRONG  weak-none       0  A
student-naive-weak       STRATEGY-WEAK  STRONG  weak-tft        0  0
student-aux-weak         STRATEGY-WEAK  STRONG  weak-tft        0  A
student-naive-both       STRATEGY-BOTH  STRONG  weak-tft        S  0
student-aux-both         STRATEGY-BOTH  STRONG  weak-tft        S  A
"""
GRIDS = """
weak-lam-{}              A.2            WEAK    D_W             W+  -
ceiling-lam-{}           SECTION-4      STRONG  D_W             C+  -
student-naive-lam-{}     A.2            STRONG  weak-tft        S+  0
"""
PRIVACY = """
weak-none                STRATEGY-NONE  WEAK    D_W             0  -
weak-tft                 WEAK-AND-BOTH  WEAK    D_W             W  -
ceiling-none             STRATEGY-NONE  STRONG  D_W             0  -
ceiling-tft              WEAK-AND-BOTH  STRONG  D_W             C  -
student-naive-none       STRATEGY-NONE  STRONG  weak-none       0  0
student-naive-weak       STRATEGY-WEAK  STRONG  weak-tft        0  0
student-naive-both       STRATEGY-BOTH  STRONG  weak-tft        S  0
base-weak                UNTUNED        WEAK    D_W             0  -
base-strong              UNTUNED        STRONG  D_W             0  -
"""
CROSSED = """
student-naive-none-ntf   STRATEGY-NONE  STRONG  trust-ntf-none  0  0
student-naive-weak-ntf   STRATEGY-WEAK  STRONG  trust-ntf-tft   0  0
student-naive-both-ntf   STRATEGY-BOTH  STRONG  trust-ntf-tft   S  0
"""
TRUSTED = """
weak-none                TEACHER        WEAK    D_W                   0  -
weak-second              TEACHER        WEAK    D_W                   0  -
student-consistency      SCORE          STRONG  trust-consistency     0  0
student-agreement        SCORE          STRONG  trust-agreement       0  0
base-strong              UNTUNED        STRONG  D_W                   0  -
student-all              NAIVE          STRONG  weak-none             0  0
student-random           CONTROL        STRONG  trust-random          0  0
student-confidence       BASELINE       STRONG  trust-confidence      0  0
student-icl-confidence   BASELINE       STRONG  trust-icl-confidence  0  0
student-reward           BASELINE       STRONG  trust-reward          0  0
student-ntf              NTF            STRONG  trust-ntf             0  0
student-truth-n          CONTROL        STRONG  trust-truth-n         0  0
student-truth            GROUND-TRUTH   STRONG  trust-truth           0  0
student-labelled         CONTROL        STRONG  trust-labelled        0  0
student-labelled-ntf     CONTROL        STRONG  trust-labelled-ntf    0  0
student-gen2             CHAIN          LARGE   trust-gen2            0  0
student-gen2-same-tau    CHAIN          LARGE   trust-gen2-same-tau   0  0
student-gen3             CHAIN          LARGE   trust-gen3            0  0
student-gen3-same-tau    CHAIN          LARGE   trust-gen3-same-tau   0  0
"""
# of the miniature, of 300 labelled rows
BUDGETS = """
student-ntf-n300            CONTROL  STRONG  trust-ntf-n300           0  0
student-labelled-n300       CONTROL  STRONG  trust-labelled-n300      0  0
student-labelled-ntf-n300   CONTROL  STRONG  trust-labelled-ntf-n300  0  0
"""
BUDGET_CHOICES = """
trust-ntf-n300           weak-none      trust        wts  ntf
trust-labelled-n300      weak-none      trust        wts  labelled
trust-labelled-ntf-n300  weak-none      trust        wts  ntf
"""
# of the larger student of the chain: it is compared with its own base and its own ground truth
GROWN = """
base-strong-gen2         UNTUNED        LARGE   D_W                   0  -
student-truth-gen2       GROUND-TRUTH   LARGE   trust-truth           0  0
"""
ZERO_SHOT_STUDENTS = """
student-ntf-zero-shot       OOD_DIST  STRONG  trust-ntf-zero-shot       0  0
student-labelled-zero-shot  CONTROL   STRONG  trust-labelled-zero-shot  0  0
"""
# for one seed where the students of all are trained otherwise: the paper's LoRA and GRPO
MORE = {"mcqa": """
student-ntf-lora    LORA  STRONG  trust-ntf    0  0
student-truth-lora  LORA  STRONG  trust-truth  0  0"""} | dict.fromkeys(("arithmetic", "game"), """
student-ntf-grpo    GRPO  STRONG  trust-ntf    0  0
student-truth-grpo  GRPO  STRONG  trust-truth  0  0""")
# run, teacher; its labels that the trust function learns from, and those it chooses from; by what
CHOICES = """
trust-random             weak-none      trust        wts  random
trust-confidence         weak-none      trust        wts  confidence
trust-margin             weak-none      trust        wts  margin
trust-entropy            weak-none      trust        wts  entropy
trust-icl-confidence     weak-none      trust        wts  icl-confidence
trust-reward             weak-none      trust        wts  reward
trust-ntf                weak-none      trust        wts  ntf
trust-truth-n            weak-none      trust        wts  truth-n
trust-truth              weak-none      trust        wts  truth
trust-consistency        weak-none      trust        wts  consistency
trust-agreement          weak-none      trust        wts  agreement
trust-ntf-both           weak-none      trust        wts  ntf
trust-labelled           weak-none      trust        wts  labelled
trust-labelled-ntf       weak-none      trust        wts  ntf
trust-gen2               student-ntf    trust        wts  ntf
trust-gen3               student-gen2   trust        wts  ntf
trust-gen2-same-tau      weak-none      trust        student-ntf-wts            ntf
trust-gen3-same-tau      weak-none      trust        student-gen2-same-tau-wts  ntf
"""
CROSSED_CHOICES = """
trust-ntf-none           weak-none      trust        wts  ntf
trust-ntf-tft            weak-tft       trust        wts  ntf
"""
ZERO_SHOT = """
trust-ntf-zero-shot      weak-none      trust        wts  ntf
trust-labelled-zero-shot weak-none      trust        wts  labelled
"""  # they learn from some sources only
ZERO = ("miniature", "paper")  # their mcqa has sources that others learn from
OTHER_TASK = "trust-ntf-other-task  weak-none  mcqa-trust  wts  ntf"
# task, W, S, C, A; grid of the weak model; of the student; of the ceiling, without the run's own
NUMBERS = {
    "miniature": """
    fairness      0.5    0.1    1.5    0.2    0.25,1        0.25,0.5      0.5,1
    ood           0.05   0.05   0.05   0.25   -             -             0.02,0.1
    adversarial   0.5    0.3    0.3    0.1    -             -             0.5
    privacy       8      8      8      0      -             -             -""",
    "paper": """
    fairness      1      1      1      0.2    0.25,0.5,2,4  0.25,0.5,2,4  0.25,0.5,2,4
    ood           0.002  0.002  0.002  0.25   -             -             0.001,0.01
    adversarial   0.3    0.3    0.3    0.1    -             -             0.1,0.5,0.7
    privacy       8      8      8      0      -             -             -""",
    "real": """
    fairness      1      1      1      0.2    0.5,2         0.5,2         0.5,2
    ood           0.1    0.1    0.1    0.25   -             -             0.02
    adversarial   0.3    0.3    0.3    0.1    -             -             0.1,0.5
    privacy       8      8      8      0      -             -             -""",
    "smoke": """
    fairness      1      1      1      0.2    -             -             -
    ood           0.002  0.002  0.002  0.25   -             -             -
    adversarial   0.3    0.3    0.3    0.1    -             -             -
    privacy       8      8      8      0      -             -             -"""}
NUMBERS["printed"] = NUMBERS["paper"]
# task, runs, further flags; the first line that fits counts, . is none
HOW = {
    "miniature": """
    *            trust-truth          .
    *            trust-labelled       .
    *            trust-labelled-zero-shot  sources=people
    *            trust-labelled-ntf   keep=0.6 add-labelled
    *            trust-labelled-ntf-n300  keep=0.6 add-labelled budget=300
    *            trust-labelled-n300  budget=300
    *            trust-ntf-n300       keep=0.6 budget=300
    *            trust-ntf-both       keep=0.6 features=both
    *            trust-ntf-zero-shot  keep=0.6 sources=people unseen
    *            trust-*-same-tau     keep=0.6 ntf=trust-ntf
    *            trust-agreement      keep=0.6 second=weak-second
    *            trust-reward         keep=0.6 reward-lr=2e-3
    *            trust-ntf-none       .
    *            trust-ntf-tft        .
    *            trust-*              keep=0.6
    fairness     data                 trust=0.1 val=0.1
    ood          data                 trust=0.1 val=0.3
    adversarial  data                 trust=0.1
    *            data                 .
    *            attack-text          limit=120 synonyms=data/miniature/world/synonyms.json
    *            attack-extraction    limit=25 candidates=10
    *            attack-membership    limit=40
    fairness     *-ntf                epochs=4 batch-size=16 lr=1e-3
    fairness     weak-*               epochs=2 batch-size=16 lr=2e-3
    fairness     *                    epochs=2 batch-size=16 lr=1e-3
    ood          *-ntf                epochs=8 batch-size=16 lr=1e-3
    ood          weak-*               epochs=4 batch-size=16 lr=2e-3
    ood          *                    epochs=4 batch-size=16 lr=1e-3
    adversarial  *-ntf                epochs=4 batch-size=16 lr=1e-3
    adversarial  weak-*               epochs=2 batch-size=16 lr=2e-3
    adversarial  *                    epochs=2 batch-size=16 lr=1e-3
    privacy      base-*               epochs=0 batch-size=8 lr=4e-3 max-length=100
    privacy      weak-none            epochs=10 batch-size=8 lr=4e-3 max-length=100
    privacy      ceiling-none         epochs=10 batch-size=8 lr=4e-3 max-length=100
    privacy      student-naive-none   epochs=10 batch-size=8 lr=4e-3 max-length=100
    privacy      student-naive-weak   epochs=10 batch-size=8 lr=4e-3 max-length=100
    privacy      weak-tft             epochs=4 batch-size=200 lr=1 max-length=100 optimizer=sgd
    privacy      ceiling-tft          epochs=4 batch-size=200 lr=4 max-length=100 optimizer=sgd
    privacy      student-naive-both   epochs=4 batch-size=200 lr=4 max-length=100 optimizer=sgd
    mcqa         weak-*               epochs=4 batch-size=16 lr=2e-3
    arithmetic   weak-*               epochs=8 batch-size=16 lr=3e-3
    game         weak-*               epochs=10 batch-size=16 lr=2e-3
    *            base-strong*         epochs=0 batch-size=16 lr=1e-3
    mcqa         student-truth-n      epochs=4 batch-size=16 lr=1e-3
    mcqa         student-all          epochs=2.4 batch-size=16 lr=1e-3
    mcqa         student-truth-lora   epochs=2.4 batch-size=16 lr=0.01 lora-rank=8
    mcqa         student-truth*       epochs=2.4 batch-size=16 lr=1e-3
    mcqa         student-ntf-lora     epochs=4 batch-size=16 lr=0.01 lora-rank=8
    mcqa         student-ntf-easy     epochs=4 batch-size=16 lr=1e-3 order=easy
    mcqa         student-labelled-ntf  epochs=2 batch-size=16 lr=1e-3
    mcqa         student-labelled-n300  epochs=12 batch-size=16 lr=1e-3
    mcqa         student-*            epochs=4 batch-size=16 lr=1e-3
    *            student-*-grpo       epochs=2 batch-size=16 lr=1e-3 objective=grpo
    arithmetic   student-truth-n      epochs=8 batch-size=16 lr=1e-3
    arithmetic   student-all          epochs=4.8 batch-size=16 lr=1e-3
    arithmetic   student-truth*       epochs=4.8 batch-size=16 lr=1e-3
    arithmetic   student-labelled-ntf  epochs=4 batch-size=16 lr=1e-3
    arithmetic   student-labelled-n300  epochs=24 batch-size=16 lr=1e-3
    arithmetic   student-*            epochs=8 batch-size=16 lr=1e-3
    game         student-truth-n      epochs=10 batch-size=16 lr=1e-3
    game         student-all          epochs=6 batch-size=16 lr=1e-3
    game         student-truth*       epochs=6 batch-size=16 lr=1e-3
    game         student-labelled-ntf  epochs=5 batch-size=16 lr=1e-3
    game         student-labelled-n300  epochs=30 batch-size=16 lr=1e-3
    game         student-*            epochs=10 batch-size=16 lr=1e-3""",
    "paper": """
    privacy      base-*               epochs=0
    mcqa         base-strong*         epochs=0 max-length=256
    arithmetic   base-strong*         epochs=0 max-length=256
    game         base-strong*         epochs=0
    mcqa         weak-*               max-length=256
    mcqa         student-ntf-easy     max-length=256 lora-rank=16 lr=2e-4 order=easy
    mcqa         student-*            max-length=256 lora-rank=16 lr=2e-4
    arithmetic   weak-*               max-length=256
    arithmetic   student-*            max-length=256 objective=grpo lr=1e-6 epochs=1
    mcqa         trust-ntf-zero-shot  sources=mmlu unseen
    mcqa         trust-labelled-zero-shot  sources=mmlu
    *            trust-labelled-ntf   add-labelled
    *            trust-ntf-both       features=both
    *            trust-*-same-tau     ntf=trust-ntf
    *            trust-agreement      second=weak-second
    fairness     data                 trust=0.1
    ood          data                 trust=0.1
    adversarial  data                 trust=0.1
    *            attack-text          limit=300
    *            attack-extraction    limit=1000
    *            attack-membership    limit=1000
    *            *                    .""",
    "real": """
    privacy      base-weak            epochs=0 lr=1e-3 max-length=128
    privacy      base-strong          epochs=0 lr=1e-3 max-length=128
    privacy      weak-none            epochs=5 lr=2e-3 max-length=128
    privacy      ceiling-none         epochs=5 lr=1e-3 max-length=128
    privacy      student-naive-none   epochs=5 lr=1e-3 max-length=128
    privacy      student-naive-weak   epochs=5 lr=1e-3 max-length=128
    privacy      weak-tft             epochs=5 lr=1 batch-size=400 max-length=128 optimizer=sgd
    privacy      ceiling-tft          epochs=5 lr=1 batch-size=400 max-length=128 optimizer=sgd
    privacy      student-naive-both   epochs=5 lr=1 batch-size=400 max-length=128 optimizer=sgd
    *            base-strong*         epochs=0 lr=1e-3
    ood          data                 trust=0.1
    ood          weak-*               epochs=1 lr=2e-3
    ood          trust-*              .
    ood          *                    epochs=1 lr=1e-3
    fairness     data                 trust=0.1
    fairness     weak-*               epochs=1 lr=2e-3
    fairness     trust-*              .
    fairness     *                    epochs=1 lr=1e-3
    *            weak-*               lr=2e-3
    mcqa         student-ntf-easy     lr=1e-3 order=easy
    *            trust-labelled-ntf   add-labelled
    *            trust-ntf-both       features=both
    *            trust-*-same-tau     ntf=trust-ntf
    *            trust-agreement      second=weak-second
    *            trust-*              .
    adversarial  data                 trust=0.1
    *            data                 .
    *            attack-text          limit=200
    *            attack-extraction    limit=200
    *            attack-membership    limit=200
    *            *                    lr=1e-3""",
    "smoke": """
    privacy      base-*               epochs=0 lr=3e-3
    *            base-strong          epochs=0 lr=3e-3
    mcqa         student-ntf-easy     lr=3e-3 order=easy
    mcqa         student-*-lora       lora-rank=8 lr=0.01
    *            student-*-grpo       objective=grpo lr=1e-3 epochs=2 new-tokens=16
    fairness     data                 trust=0.1 limit=240
    ood          data                 trust=0.1 limit=240
    adversarial  data                 trust=0.1 limit=240
    *            data                 limit=240
    *            trust-labelled-ntf   add-labelled
    *            trust-ntf-both       features=both
    *            trust-*-same-tau     ntf=trust-ntf
    *            trust-agreement      second=weak-second
    *            trust-*              .
    *            attack-text          limit=24
    *            attack-extraction    limit=16
    *            attack-membership    limit=16
    *            *                    lr=3e-3""",
    "printed": """
    fairness    student-aux-*  penalty=signed penalty-output=probability label-kind=soft warmup=0.2
    fairness    student-naive-*    penalty=signed penalty-output=probability label-kind=soft
    fairness    weak-*             penalty=signed penalty-output=probability
    fairness    ceiling-*          penalty=signed penalty-output=probability
    ood         student-aux-*      noise-as=std epochs=1 label-kind=soft warmup=0.2
    ood         student-naive-*    noise-as=std epochs=1 label-kind=soft
    ood         weak-*             noise-as=std epochs=1
    ood         ceiling-*          noise-as=std epochs=1
    adversarial student-aux-*      epochs=6 adv-label=fw_x_adv label-kind=soft warmup=0.2
    adversarial student-naive-*    epochs=6 adv-label=fw_x_adv label-kind=soft
    adversarial weak-*             epochs=6
    adversarial ceiling-*          epochs=6
    privacy     base-*             epochs=0
    privacy     weak-tft           optimizer=sgd lr=0.5
    privacy     ceiling-tft        optimizer=sgd lr=0.5
    privacy     student-naive-both optimizer=sgd lr=0.5 label-kind=soft
    privacy     student-naive-*    label-kind=soft
    fairness    data               split=rows val=0
    ood         data               split=rows val=0.05 val-from=weak
    adversarial data               split=rows val=0 per-source=10000
    privacy     data               split=rows val=0 emails=10000
    *           attack-text        limit=300
    *           attack-extraction  limit=1000
    *           attack-membership  limit=1000
    *           *                  ."""}
# task, run, rows that it labels, with its states or without; "ours" cuts rows for a trust function
LABELS = """
class       weak-none     wts,trust  hidden
class       weak-tft      wts,trust  hidden
privacy     weak-none     wts        -
privacy     weak-tft      wts        -
question    weak-none     wts,trust  hidden
question    weak-second   wts        -
question    student-ntf   wts,trust  hidden
question    student-gen2  wts,trust  hidden
question    student-gen2-same-tau  wts  -
question    weak-none     student-ntf            given
question    weak-none     student-gen2-same-tau  given
"""
PRINTED_LABELS = """
class       weak-none     wts        -
class       weak-tft      wts        -
privacy     weak-none     wts        -
privacy     weak-tft      wts        -
"""
PRETRAINED = """
w2s.miniature pretrain shape=real-2x64  out=data/real/models/weak   runs=data/real/pretrain passes=3
w2s.miniature pretrain shape=real-4x192 out=data/real/models/strong runs=data/real/pretrain passes=3
w2s.miniature pretrain shape=real-6x256 out=data/real/models/large  runs=data/real/pretrain passes=3
"""
WORLD = {"paper": "", "real": PRETRAINED, "smoke": "tests.smoke_data out=data/smoke",
         "miniature": """
w2s.miniature world        out=data/miniature seed=0
w2s.miniature perturbed    out=data/miniature"""}
# model that texts are perturbed against, what it is made of, its learning rate: none is a run
SURROGATES = """
independent  w2s/models/mini-surrogate  1e-3
weak         w2s/models/mini-weak       2e-3
strong       w2s/models/mini-strong     1e-3
"""


# ---- the tables as commands ----------------------------------------------------------------------

def lines(text):
    return [line.split() for line in text.splitlines() if line.strip()]


def value(word):
    """A number as a number: 2e-3 is 0.002."""
    try:
        return float(word)
    except ValueError:
        return word


def command(script, **flags):
    """(script, {(flag, values)}); of several values the order does not count."""
    return script, frozenset((name.replace("_", "-"), tuple(sorted(map(
        value, [found] if isinstance(found, (str, float, int)) else found), key=str)))
        for name, found in flags.items())


def how(preset, task, run):
    for where, runs, *flags in lines(HOW[preset]):
        if fnmatchcase(task, where) and fnmatchcase(run, runs):
            return {name: word if equals else [] for name, equals, word in (
                flag.partition("=") for flag in flags if flag != ".")}
    raise AssertionError(f"{preset}: {task} {run} stands nowhere")


def numbers(preset, task):
    """{symbol: lambda or alpha, symbol+: grid}"""
    row, = [row for row in lines(NUMBERS[preset]) if row[0] == task]
    grids = [[] if cell == "-" else [float(x) for x in cell.split(",")] for cell in row[5:]]
    return dict(zip("WSCA", map(float, row[1:5]))) | dict(zip(("W+", "S+", "C+"), grids)) | {
        "0": 0.0, "-": None}


class Expected:
    """The commands of a preset for all tasks and two seeds, as the tables have them."""

    def __init__(self, preset, raw):
        self.name, self.preset = preset, "paper" if preset == "printed" else preset
        self.raw, self.found = raw, []
        for row in lines(WORLD[self.preset]):
            words, text = [word for word in row if "=" not in word], {
                "text": f"{raw}/corpus/text.jsonl"} if self.preset == "real" else {}
            self.add(" ".join(words), **text, **dict(word.split("=") for word in row
                                                     if "=" in word))
        if preset == "miniature":
            self.surrogates()
        for task in (*CLASSES, "privacy", *(QUESTIONS if preset != "printed" else ())):
            for seed in (0, 1):
                self.cell(task, seed)

    def add(self, script, **flags):
        self.found.append(command(script, **flags))

    def cell(self, task, seed):
        """Everything of a task and a seed."""
        own = "" if self.preset == "smoke" else f"/seed{seed}"  # smoke: one split for all seeds
        self.D, self.R = f"data/{self.preset}/{task}{own}", f"runs/{self.preset}/{task}/seed{seed}"
        self.task, self.seed = task, seed
        if own or not seed:
            self.add("w2s.prepare data", task=task, out=self.D, seed=seed, raw=self.raw,
                     **how(self.name, task, "data"))
        crossed = task in CLASSES and self.name != "printed"
        runs = lines(PRIVACY if task == "privacy" else self.trusted() if task in QUESTIONS
                     else STRATEGIES + GRIDS + CROSSED * crossed)
        symbols = {"0": 0.0, "-": None} if task in QUESTIONS else numbers(self.name, task)
        for run, _, model, learns, lam, alpha in runs:
            if lam.endswith("+"):
                for strength in symbols[lam]:
                    self.train(run.format(f"{strength:g}"), model, learns, strength, symbols[alpha])
            else:
                self.train(run, model, learns, symbols[lam], symbols[alpha])
        self.choose(task, crossed)
        kind = "question" if task in QUESTIONS else "class" if task in CLASSES else task
        for which, run, rows, hidden in lines(LABELS if self.name != "printed" else PRINTED_LABELS):
            if which == kind:
                # given: the first teacher reads what a student of the chain has answered
                data = [f"{self.R}/{rows}/labels/wts.jsonl"] if hidden == "given" else [
                    f"{self.D}/{part}.jsonl" for part in rows.split(",")]
                self.add("label.py", task=task, run=f"{self.R}/{run}", data=data,
                         **dict.fromkeys({"hidden": ["hidden"], "given": ["hidden", "given"]}.get(
                             hidden, ()), []))

    def trusted(self):
        """The table of a task of trust functions."""
        return (TRUSTED + GROWN * (self.preset != "smoke") + BUDGETS * (self.preset == "miniature")
                + ZERO_SHOT_STUDENTS * (self.task == "mcqa" and self.preset in ZERO)
                + MORE[self.task] * (self.preset in ("miniature", "smoke") and self.seed == 0)
                + "\nstudent-ntf-easy  MECHANISM  STRONG  trust-ntf  0  0" * (self.task == "mcqa"))

    def train(self, run, model, learns, lam, alpha):
        """A training, the measurement of what it makes, and the attacks on it."""
        pool = {"trust-gen2-same-tau": "student-ntf-wts",
                "trust-gen3-same-tau": "student-gen2-same-tau-wts"}.get(learns, "wts")
        data = {"data": f"{self.D}/weak.jsonl"} if learns == "D_W" else {
            "labels": f"{self.R}/{learns}/labels/{pool}.jsonl"}
        self.add("train_weak.py" if learns == "D_W" else "train_student.py", task=self.task,
                 seed=self.seed + 2000 * (run == "weak-second"), out=f"{self.R}/{run}",
                 model=MODELS[self.preset][model], lam=lam,
                 **data, **({} if alpha is None else {"alpha": alpha}),
                 **how(self.name, self.task, run))
        if run == "weak-second":  # gives labels alone
            return
        parts = ["test", "val"] if self.on_validation(run) else ["test"]
        self.add("evaluate.py", task=self.task, run=f"{self.R}/{run}",
                 data=[f"{self.D}/{part}.jsonl" for part in parts])
        attacks = {"adversarial": ["text"], "privacy": ["extraction", "membership"]}
        if "-lam-" not in run and not run.endswith("-ntf"):
            for kind in attacks.get(self.task, ()):
                parts = ["test"] if kind == "text" else ["weak", "wts", "test"]
                self.add(f"attacks.py {kind}", task=self.task, run=f"{self.R}/{run}",
                         data=[f"{self.D}/{part}.jsonl" for part in parts],
                         **how(self.name, self.task, f"attack-{kind}"))

    def on_validation(self, run):
        """Section 4 and A.2: the ceiling is chosen among all ceilings; of fairness, which has a
        grid for them, weak model and student too. As printed only OOD has validation rows."""
        if self.task in QUESTIONS or (self.name == "printed" and self.task != "ood"):
            return False
        grid = self.task == "fairness" and self.name != "smoke"
        return run.startswith("ceiling-") or grid and not run.endswith("-ntf") and (
            run.startswith(("weak-", "student-naive-lam-"))
            or run in ("student-naive-weak", "student-naive-both"))

    def choose(self, task, crossed):
        text = CHOICES if task in QUESTIONS else CROSSED_CHOICES * crossed
        text += BUDGET_CHOICES * (task in QUESTIONS and self.preset == "miniature")
        text += ZERO_SHOT * (task == "mcqa" and self.preset in ZERO)
        text += OTHER_TASK * (task == "arithmetic")
        for run, teacher, learns, pool, by in lines(text):
            labels, more = f"{self.R}/{teacher}/labels", how(self.name, task, run)
            more |= {"ntf": f"{self.R}/{more['ntf']}"} if "ntf" in more else {}
            more |= {"second": f"{self.R}/{more['second']}/labels/wts.jsonl"} \
                if "second" in more else {}
            self.add("train_ntf.py", teacher=f"{self.R}/{teacher}", seed=self.seed, select=by,
                     labelled=f"{labels}/{learns}.jsonl", pool=f"{labels}/{pool}.jsonl",
                     out=f"{self.R}/{run}", **more)
        if task == "arithmetic":
            other = self.D.replace("arithmetic", "mcqa")
            self.add("label.py", task="mcqa", run=f"{self.R}/weak-none",
                     data=f"{other}/trust.jsonl", hidden=[])

    def surrogates(self):
        """Their seed is none of the experiment's."""
        world, words = "data/miniature/world", "data/miniature/world/synonyms.json"
        for name, model, lr in lines(SURROGATES):
            run = f"runs/miniature/surrogates/{name}"
            self.add("train_weak.py", task="adversarial", seed=1000, out=run, model=model, lam=0,
                     data=f"{world}/clean.jsonl", lr=lr, epochs=2, batch_size=16)
            for part, data, more in (
                    ("words", "victims", {"methods": ["typos", "synonyms"], "synonyms": words}),
                    ("remarks", "remarked", {"methods": "distraction"})):
                self.add("attacks.py text", task="adversarial", run=run, **more,
                         data=f"{world}/{data}.jsonl",
                         out=f"{world}/attacked/{name}/{part}.jsonl")


# ---- the commands --------------------------------------------------------------------------------

def dry_run(capsys, monkeypatch, preset, **options):
    """The printed commands of `bash run_all.sh PRESET --dry-run`."""
    monkeypatch.setattr(phases, "fast_bfloat16", lambda: False)
    monkeypatch.setattr("sys.argv", ["run_all.sh", "asked"])
    experiment.main(experiment.Config(dry_run=True, seeds=2, **options), preset)
    return [line for line in capsys.readouterr().out.splitlines() if line[0] != "#"]


def planned(line):
    """A printed command as `command`, one for each of its runs; a training's lambda and alpha are
    its task's where none is given (A.2, section 3.1)."""
    script, flags = raw_flags(shlex.split(line)[1:])
    if script in ("train_weak.py", "train_student.py"):
        usual = tasks.load(flags["task"][0]).DEFAULTS
        for name in ("lam", "alpha") if script == "train_student.py" else ("lam",):
            flags.setdefault(name, [str(usual[name][0])])
    for run in flags.get("run", [None]):
        yield command(script, **(flags if run is None else flags | {"run": run}))


def raw_flags(words):
    """(script, {flag: [value, ...]}) of the words of a command; a flag must not be given twice."""
    begin = next(k for k, word in enumerate(words) if word.startswith("--"))
    flags = {}
    for word in words[begin:]:
        if word.startswith("--"):
            assert word[2:] not in flags, words
            flags[word[2:]] = []
        else:
            flags[[*flags][-1]].append(word)
    return " ".join(word for word in words[:begin] if word != "-m"), flags


def options(preset, folder):
    """Options that ask for everything; a folder that has MMLU, from which mcqa's zero-shot learns
    where data is real."""
    (folder / "mmlu.csv").touch()
    (folder / "corpus").mkdir()
    (folder / "corpus/text.jsonl").touch()
    return {"tasks": "fairness,ood,adversarial,privacy" if preset == "printed" else "all",
            **({"raw": str(folder)} if preset in ("paper", "printed", "real") else {}),
            **({"protocol": "printed"} if preset == "printed" else {})}


@pytest.mark.parametrize("preset", ["miniature", "real", "paper", "smoke", "printed"])
def test_every_command_is_the_one_of_the_tables(preset, capsys, monkeypatch, tmp_path):
    name = "paper" if preset == "printed" else preset
    *found, report = dry_run(capsys, monkeypatch, name, **options(preset, tmp_path))
    early = [line for line in found if " -m w2s.report " in line]
    trained = {line.split("--task ")[1].split()[0] for line in found
               if "train_weak.py" in line and "surrogates" not in line}
    # after the first seed, and after each task but the last
    assert len(early) == (0 if preset == "smoke" else len(trained))
    assert {line.replace(" --draws 2000", "") for line in early} <= {report}
    found = [line for line in found if line not in early]
    found = [each for line in found for each in planned(line)]
    raw = tmp_path if name in ("paper", "real") else f"data/{name}/raw"
    expected = Expected(preset, str(raw)).found
    assert len(set(found)) == len(found) and len(set(expected)) == len(expected) > 150
    wrong = [("in the plan alone", sorted(map(str, set(found) - set(expected)))[:5]),
             ("in the tables alone", sorted(map(str, set(expected) - set(found)))[:5])]
    assert not any(lines for _, lines in wrong), wrong
    note = () if name == "paper" else ("note",)
    (script, flags), = planned(report)
    flags = dict(flags)
    assert script == "w2s.report" and {*flags} == {"runs", "data", "command", *note, *(
        ("select",) if preset == "printed" else ())}
    assert flags["runs"] == (f"runs/{name}",) and flags["data"] == (f"data/{name}",)
    assert flags.get("select", ("test",)) == ("test",)  # A.2, of the printed protocol alone


# ---- the order -----------------------------------------------------------------------------------

PARTS = ("weak", "wts", "val", "trust", "test")


def made(script, flags):
    """The files and folders that a command makes."""
    one = {name: found[0] for name, found in flags.items() if found}
    if script == "w2s.prepare data":
        return [f"{one['out']}/{part}.jsonl" for part in PARTS]
    if script == "label.py":
        task = flags["run"][0].split("/")[-3]
        other = "" if task == one["task"] else f"{one['task']}-"
        return [f"{run}/labels/{Path(rows).parts[-3] + '-' if 'given' in flags else other}"
                f"{Path(rows).name}" for run in flags["run"] for rows in flags["data"]]
    if script == "train_ntf.py":
        return [f"{one['out']}/labels/{Path(one['pool']).name}"]
    if script in ("w2s.miniature world", "w2s.miniature perturbed", "tests.smoke_data"):
        return [f"{one['out']}/{name}" for name in ("raw", "world", "tiny-2x32", "tiny-3x64")]
    return flags.get("out", [])


def read(preset, script, flags):
    """The files and folders that a command reads, without those that were there before."""
    names = ("data", "labels", "labelled", "pool", "teacher", "run", "model", "raw", "synonyms")
    found = [path for name in names for path in flags.get(name, ())]
    if script == "w2s.miniature perturbed":
        found = [f"data/miniature/world/attacked/{name}/{part}.jsonl"
                 for name, *_ in lines(SURROGATES) for part in ("words", "remarks")]
    return [path for path in found if path.startswith((f"data/{preset}", f"runs/{preset}"))]


@pytest.mark.parametrize("preset", ["miniature", "smoke"])
def test_what_a_command_reads_was_made_by_one_that_it_waits_for(preset, capsys, monkeypatch):
    printed = dry_run(capsys, monkeypatch, preset, tasks="all")
    words = [shlex.split(line)[1:] for line in printed]
    waits = scheduler.before([scheduler.Command(n, "", "", "", each) for n,
                              each in enumerate(words)])
    known, reached = {}, []
    for n, each in enumerate(words):
        reached.append(waits[n].union(*(reached[k] for k in waits[n])))
        script, flags = raw_flags(each)
        if script == "w2s.report":  # of everything before it; what comes later waits for none
            assert reached[n] == set(range(n))
            assert not any(n in waits[later] for later in range(n + 1, len(words))
                           if words[later][:2] != ["-m", "w2s.report"])
            continue
        for path in read(preset, script, flags):
            places = [Path(path), *(() if "/labels/" in path else Path(path).parents)]
            makers = [known[str(place)] for place in places if str(place) in known]
            assert makers, f"{path}: {printed[n]}"
            assert makers[0] in reached[n], (printed[makers[0]], printed[n])
        known |= dict.fromkeys(made(script, flags), n)


# ---- options -------------------------------------------------------------------------------------

def runs(printed, task):
    """Names of the runs of a task, of seed 0."""
    found = [raw_flags(shlex.split(line)[1:])[1].get("out", [""])[0] for line in printed]
    return {Path(path).name for path in found if f"/{task}/seed0/" in path}


def test_the_default_has_every_column_of_the_papers_table_and_trust_functions_on_ood(
        capsys, monkeypatch):
    printed = dry_run(capsys, monkeypatch, "miniature")
    columns = {"confidence", "icl-confidence", "reward", "ntf", "truth"}  # naive: student-all
    ways = columns | {"random", "truth-n", "labelled", "labelled-ntf", "ntf-zero-shot",
                      "labelled-zero-shot", "gen2", "gen2-same-tau", "gen3", "ntf-n300",
                      "labelled-n300", "labelled-ntf-n300"}
    assert runs(printed, "mcqa") == {"weak-none", "base-strong", "base-strong-gen2", "student-all",
                                     "student-ntf-lora", "student-truth-lora",
                                     "student-truth-gen2"} | {
        f"student-{way}" for way in ways} | {
        f"trust-{way}" for way in ways | {"margin", "entropy", "ntf-both"}}
    of = {task: {run for run in runs(printed, task) if "ntf" in run} for task in (
        "fairness", "ood", "adversarial", "privacy")}
    assert of == {"fairness": set(), "adversarial": set(), "privacy": set(), "ood": {
        "trust-ntf-none", "trust-ntf-tft", "student-naive-none-ntf", "student-naive-weak-ntf",
        "student-naive-both-ntf"}}
    assert not runs(printed, "arithmetic") | runs(printed, "game")


# an option, and where it must be found: script, flag and value of the commands that have it
OPTIONS = [
    ({"dtype": "float32"}, {"train_weak.py", "train_student.py"}, "dtype", "float32"),
    ({"compile": "off"}, {"train_weak.py", "train_student.py"}, "compile", "off"),
    ({"limit": 77}, {"w2s.prepare data"}, "limit", "77"),
    ({"attack_limit": 9}, {"attacks.py text", "attacks.py extraction", "attacks.py membership"},
     "limit", "9"),
    ({"town": 5}, {"w2s.miniature world"}, "seed", "5"),
    ({"select": "test"}, {"w2s.report"}, "select", "test")]


@pytest.mark.parametrize("asked, scripts, name, expected", OPTIONS)
def test_an_option_reaches_its_scripts_and_no_other(asked, scripts, name, expected, capsys,
                                                    monkeypatch):
    printed = dry_run(capsys, monkeypatch, "miniature", tasks="fairness,adversarial,privacy",
                      **asked)
    found = [raw_flags(shlex.split(line)[1:]) for line in printed]
    # perturbing texts is no attack on a model of the experiment: --attack-limit is not for it
    found = [(script, flags) for script, flags in found if not ("attack_limit" in asked and any(
        "surrogates" in run for run in flags.get("run", ())))]
    having = {script for script, flags in found if flags.get(name) == [expected]}
    assert having == scripts
    assert all(flags.get(name) == [expected] for script, flags in found if script in scripts)


def test_a_device_reaches_every_command_that_runs_a_model(capsys, monkeypatch):
    """Of the ways to choose labels three run one: in context, the verifier, sampling."""
    for line in dry_run(capsys, monkeypatch, "miniature", tasks="all", device="cuda:1"):
        script, flags = raw_flags(shlex.split(line)[1:])
        runs_none = script.startswith("w2s.") or flags.get("select", ["reward"])[0] not in (
            "icl-confidence", "reward", "consistency")
        assert flags.get("device") == (None if runs_none else ["cuda:1"]), line


def test_training_is_in_bfloat16_where_that_is_fast_and_measuring_never(monkeypatch):
    monkeypatch.setattr(phases, "fast_bfloat16", lambda: True)
    plan = phases.Experiment(experiment.Config(tasks="ood,mcqa", seeds=1), "miniature")
    for step in plan.steps:
        words = plan.line(step)
        assert ("bfloat16" in words) == words[0].startswith(("train_weak", "train_student"))


def test_ceilings_may_have_the_students_rows_and_students_of_a_chain_grow(capsys, monkeypatch):
    """--ceiling-data wts: ground truth of D_WTS; --strong A,B,C: A for all but the chain."""
    found = [raw_flags(shlex.split(line)[1:])[1] for line in dry_run(
        capsys, monkeypatch, "paper", tasks="fairness,mcqa", ceiling_data="wts", weak="a/w",
        strong="a/a,b/b,c/c")]
    rows = {Path(flags["out"][0]).name: Path(flags["data"][0]).name for flags in found
            if "model" in flags and "data" in flags and "fairness" in flags["task"]}
    assert {run for run, name in rows.items() if name == "wts.jsonl"} == {
        run for run in rows if run.startswith("ceiling-")} != set()
    assert {name for run, name in rows.items() if run.startswith("weak")} == {"weak.jsonl"}
    models = {}
    for flags in found:
        if "model" in flags:
            models.setdefault(flags["model"][0], set()).add(Path(flags["out"][0]).name)
    assert models["b/b"] == {"student-gen2", "student-gen2-same-tau", "base-strong-gen2",
                             "student-truth-gen2"}
    assert models["c/c"] == {"student-gen3", "base-strong-gen3", "student-truth-gen3"}
    assert {run for run in models["a/w"] if not run.startswith("weak-")} == set()
    assert {"ceiling-none", "student-naive-both", "student-all", "base-strong"} <= models["a/a"]


# a budget has a trust function and students of so many labelled rows: run, labels, by what, flags
OF_BUDGET = """
trust-labelled-n{}      labelled  budget={}
trust-labelled-ntf-n{}  ntf       budget={} add-labelled
trust-ntf-n{}           ntf       budget={}
"""


def test_budgets_have_choices_and_students_of_their_own(capsys, monkeypatch):
    printed = dry_run(capsys, monkeypatch, "miniature", tasks="mcqa", budgets="200,100,100")
    assert len({*printed}) == len(printed)
    found = [raw_flags(shlex.split(line)[1:])[1] for line in printed]
    own = {Path(flags["out"][0]).name: flags for flags in found if "out" in flags
           and "/mcqa/seed0/" in flags["out"][0]}
    ends = lines(OF_BUDGET.format(*[100] * 6) + OF_BUDGET.format(*[200] * 6))
    for run, by, *more in ends:
        flags, student = own[run], own[run.replace("trust", "student")]
        assert flags["select"] == [by] and ("add-labelled" in flags) == ("add-labelled" in more)
        assert flags["budget"] == [more[0].partition("=")[2]]
        assert Path(flags["teacher"][0]).name == "weak-none"
        assert student["labels"] == [f"{flags['out'][0]}/labels/wts.jsonl"]
        # labelled rows alone are few, so they are read more often (recipes/miniature.txt)
        assert student["epochs"] == ["12" if by == "labelled" else "4"]
    assert {run for run, flags in own.items() if "budget" in flags} == {run for run, *_ in ends}
    assert own["student-labelled"]["labels"][0].endswith("/trust-labelled/labels/wts.jsonl")


@pytest.mark.parametrize("generations, larger, chain", [
    (1, set(), set()), (2, {2}, {2}), (5, {2, 4}, {2, 3, 4, 5})])
def test_a_chain_has_as_many_generations_as_asked_and_a_twin_of_each_size(
        generations, larger, chain, capsys, monkeypatch):
    """--strong A,B,B,C: generations 2 and 3 have the same model, 4 and all later ones another."""
    printed = dry_run(capsys, monkeypatch, "paper", tasks="mcqa", strong="a/a,b/b,b/b,c/c",
                      generations=generations)
    found = [raw_flags(shlex.split(line)[1:])[1] for line in printed]
    own = {Path(flags["out"][0]).name: flags for flags in found if "out" in flags
           and "/mcqa/seed0/" in flags["out"][0]}
    size = {2: "b/b", 3: "b/b", 4: "c/c", 5: "c/c"}
    for n in chain:
        assert own[f"student-gen{n}"]["model"] == [size[n]]
        teacher = "student-ntf" if n == 2 else f"student-gen{n - 1}"
        assert Path(own[f"trust-gen{n}"]["teacher"][0]).name == teacher
    for n in larger:
        assert own[f"base-strong-gen{n}"]["model"] == own[f"student-truth-gen{n}"]["model"] == [
            size[n]]
    assert {run for run in own if "gen" in run} == {
        *(f"base-strong-gen{n}" for n in larger), *(f"student-truth-gen{n}" for n in larger),
        *(f"{kind}-gen{n}" for n in chain for kind in ("student", "trust")),
        *(f"{kind}-gen2-same-tau" for kind in ("student", "trust") if chain)}


def test_smoke_may_split_anew_for_every_seed(capsys, monkeypatch):
    for more, seeds in (({}, ["0"]), ({"resplit": True}, ["0", "1"]), ({"split_seed": 4}, ["4"])):
        found = [raw_flags(shlex.split(line)[1:]) for line in dry_run(
            capsys, monkeypatch, "smoke", tasks="ood", **more)]
        assert [flags["seed"][0] for script, flags in found if script == "w2s.prepare data"
                ] == seeds


# ---- recipes -------------------------------------------------------------------------------------

def planned_runs(preset, **asked):
    """{run: flags} of the commands of seed 0."""
    plan = phases.Experiment(experiment.Config(seeds=1, **asked), preset)
    return {step.run: raw_flags(plan.line(step))[1] for step in plan.steps}


def test_the_protocol_goes_before_the_preset():
    """A.2 prints 1 epoch for OOD and lambda .3 for each adversarial model; the miniature has 4 and,
    for its weak model, .5."""
    found = planned_runs("miniature", tasks="ood,adversarial", protocol="printed")
    assert found["weak-tft"]["lam"] == ["0.3"] and found["student-aux-both"]["lam"] == ["0.3"]
    ood = planned_runs("miniature", tasks="ood", protocol="printed")
    assert {found["epochs"][0] for run, found in ood.items() if run.startswith("student")} == {"1"}
    assert ood["weak-tft"]["batch-size"] == ["16"]  # what is not printed stays the preset's


def test_privacys_grid_of_ceilings_is_private_sgd(tmp_path):
    """Section 3.1 names DP-SGD: of every private run, those of a grid too."""
    (tmp_path / "mine.txt").write_text("privacy ceiling grid 2 16\n")
    found = planned_runs("paper", tasks="privacy", protocol="printed",
                         recipe=str(tmp_path / "mine.txt"))
    for run in ("ceiling-lam-2", "ceiling-lam-16", "ceiling-tft", "weak-tft"):
        assert (found[run]["optimizer"], found[run]["lr"]) == (["sgd"], ["0.5"]), run
    assert "optimizer" not in found["ceiling-none"]
    attacked = planned_runs("paper", tasks="privacy", recipe=str(tmp_path / "mine.txt"))
    plan = phases.Experiment(experiment.Config(tasks="privacy", seeds=1,
                                               recipe=str(tmp_path / "mine.txt")), "paper")
    for kind in ("extraction", "membership"):
        runs = {Path(run).name for step in plan.steps if step.run == f"attack-{kind}"
                for run in step.fixed["--run"]}
        assert {"ceiling-lam-2", "ceiling-lam-16"} <= runs and "ceiling-lam-2" in attacked


ROLES = """
weak      weak weak-none weak-tft weak-lam-2
strong    ceiling-none ceiling-tft ceiling-lam-2 student-naive-none student-all student-gen2 \
base-strong
ceiling   ceiling-none ceiling-tft ceiling-lam-2
student   student-naive-none student-all student-gen2
*         weak-none ceiling-tft student-all base-weak base-strong surrogate-strong
"""
TRAINED = {run for _, *found in lines(ROLES) for run in found}
STEPS = {"data", "labels", "evaluate", "trust-ntf", "attack-text", "report"}  # train no model


def test_the_roles_of_a_recipe():
    """docs/recipes.md: weak are all weak models, strong ceilings and students and what they start
    from, * everything that is trained."""
    for role, *expected in lines(ROLES):
        line = recipes.Line("", "*", role, "--lr", ("1",))
        found = {run for run in TRAINED if line.fits("ood", run, True)}
        assert found == (TRAINED if role == "*" else set(expected))
        assert not any(line.fits("ood", run, False) for run in STEPS)
    line = recipes.Line("", "ood", "trust-*", "--keep", (".5",))
    assert line.fits("ood", "trust-ntf", False) and not line.fits("mcqa", "trust-ntf", False)


def test_a_flag_without_a_value_may_be_refused_by_an_earlier_line(tmp_path):
    path = tmp_path / "mine.txt"
    for words, there in (("no", False), ("yes", True)):
        path.write_text(f"fairness data --hide-protected {words}\n* data --hide-protected yes\n")
        found = planned_runs("paper", tasks="fairness", recipe=str(path))
        assert ("hide-protected" in found["data"]) == there


def test_a_surrogate_under_another_name_is_still_the_student(tmp_path):
    for name in ("strong", "weak"):
        (tmp_path / name).mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "strong")
    plan = phases.Experiment(experiment.Config(
        tasks="adversarial", seeds=1, weak=str(tmp_path / "weak"), strong=str(tmp_path / "strong"),
        surrogate=str(tmp_path / "link")), "miniature")
    with pytest.raises(ValueError, match="is also the teacher or a student"):
        experiment.check(plan)
