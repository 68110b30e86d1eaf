#!/usr/bin/env python3
"""Fine-tune a model on ground truth: the weak model f_w of Eqs. (3)-(5), or the strong ceiling.

    python train_weak.py --task fairness --model EleutherAI/pythia-14m \\
        --data data/paper/fairness/weak.jsonl --out runs/mine/weak --lam 1.0

--lam 0 is No TFT, --lam > 0 the regularised weak model; the ceiling is the same command with the
strong model. Afterwards OUT/model is a folder that transformers loads too. Killed or interrupted,
the same command goes on from its last checkpoint.
"""

from dataclasses import dataclass

from w2s import config
from w2s.config import REQUIRED, arg


@dataclass(kw_only=True)
class Config(config.Training):
    task: str = arg(REQUIRED, "a file of w2s/tasks: fairness, ood, adversarial, privacy, mcqa, ...")
    model: str = arg(REQUIRED, "folder in Hugging Face layout, or a name like "
                     "EleutherAI/pythia-14m")
    data: str = arg(REQUIRED, "rows with ground truth: weak.jsonl of w2s.prepare, or yours")
    out: str = arg(REQUIRED, "run folder to make")
    lam: float = arg(None, "lambda, strength of the task's regulariser, for privacy epsilon; 0: "
                     "none (default: the task's)", low=0)


def main(cfg):
    from w2s import hub, runs, tasks
    from w2s.model import families
    tasks.check(cfg.task)
    folder = hub.folder(cfg.model, cfg.revision, families.read)
    # a run that is done ends here: torch, which takes long to import, comes below
    run = runs.begin(cfg.out, "train_weak.py", cfg, {"model": folder, "data": cfg.data})
    if run is None:
        return

    from w2s.train.step import ground_truth
    from w2s.training import TrainingRun, read_truth
    task = tasks.load(cfg.task)
    fit = TrainingRun(cfg, run, task, read_truth(task, cfg), folder, target="label")
    step = fit.make_step(ground_truth)
    for k, batch in fit.batches():
        loss = step(k, batch)
        fit.after(k, loss)
    fit.finish()


if __name__ == "__main__":
    config.launch(main, Config, __doc__)
