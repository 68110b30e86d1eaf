#!/usr/bin/env python3
"""Fine-tune the strong model on the weak model's labels: the student of Eqs. (7)-(9).

    python train_student.py --task fairness --model EleutherAI/pythia-410m \\
        --labels runs/mine/weak/labels/wts.jsonl --out runs/mine/student --alpha 0.2 --lam 1.0

--alpha 0 is the naive student, --alpha > 0 adds the confidence term of Eq. (1); --lam > 0
regularises the student too (Weak+WTS TFT). Labels that train_ntf.py chose are such a file too; of
text, --objective grpo trains on rewards for agreement with them. Ground truth in the labels file
is never read.
"""

from dataclasses import dataclass

from w2s import config
from w2s.config import REQUIRED, arg


@dataclass(kw_only=True)
class Config(config.Training):
    task: str = arg(REQUIRED, "a file of w2s/tasks: fairness, ood, adversarial, privacy, mcqa, ...")
    model: str = arg(REQUIRED, "folder in Hugging Face layout, or a name like "
                     "EleutherAI/pythia-410m")
    labels: str = arg(REQUIRED, "rows with `weak`: written by label.py")
    out: str = arg(REQUIRED, "run folder to make")
    lam: float = arg(None, "lambda_WTS, strength of the task's regulariser, for privacy epsilon; "
                     "0: none (default: the task's)", low=0)
    alpha: float = arg(None, "weight of the confidence term in Eq. (1); 0: naive (default: the "
                       "task's)", low=0, high=1)
    warmup: float = arg(0.2, "fraction of the steps over which alpha rises from 0", low=0,
                        high=1)
    threshold: str = arg("quantile", "hardened prediction: quantile over batch and 256 recent "
                         "scores, over the batch only, argmax, or class shares for K > 2 too",
                         choices=("quantile", "batch", "argmax", "prior"))
    adv_label: str = arg("fw_x_adv", "adversarial: target of x' is the weak label of x' (Eq. 9 as "
                         "printed), or the weak label of x", choices=("fw_x_adv", "fw_x"))
    objective: str = arg("sft", "arithmetic, game: fine-tune on the trusted answer, or GRPO: "
                         "reward 1 for a sampled answer that ends in it, 0 for others",
                         choices=("sft", "grpo"))
    group: int = arg(8, "grpo: answers sampled to each prompt", low=2, high=10**4)
    updates: int = arg(1, "grpo: optimizer steps on the same answers", low=1)
    ratio_clip: float = arg(0.2, "grpo: epsilon, how far p / p_old may move", above=0)
    kl: float = arg(0.0, "grpo: beta, weight of the KL to the model before training", low=0)
    sampling_temperature: float = arg(1.0, "grpo: of the sampled answers", above=0)
    new_tokens: int = arg(None, "grpo: tokens of an answer, at most (default: the task's)", low=1)
    order: str = arg(None, "of the rows in the first epoch: shuffled, or easy, from the smallest "
                     "loss that the untuned model has on the labels to the largest; later epochs "
                     "are shuffled (default: shuffled)", choices=("shuffled", "easy"), later=True)
    label_kind: str = arg("soft", "train on the weak probabilities or on their argmax",
                          choices=("soft", "hard"))


def main(cfg):
    from w2s import hub, runs, tasks
    from w2s.model import families
    tasks.check(cfg.task)
    folder = hub.folder(cfg.model, cfg.revision, families.read)
    # a run that is done ends here: torch, which takes long to import, comes below
    run = runs.begin(cfg.out, "train_student.py", cfg, {"model": folder, "labels": cfg.labels})
    if run is None:
        return

    from w2s.train import losses
    from w2s.train.step import weak_label
    from w2s.training import TrainingRun, read_labels
    task = tasks.load(cfg.task)
    data, target = read_labels(task, cfg), "weak" if cfg.objective == "sft" else None
    fit = TrainingRun(cfg, run, task, data, folder, target=target)
    step = fit.make_step(weak_label) if cfg.objective == "sft" else fit.make_grpo_step(data)
    for k, batch in fit.batches():
        alpha = losses.alpha_at(k, fit.steps, fit.alpha, cfg.warmup)
        if fit.alpha:  # the naive student has no alpha: exactly cross-entropy
            batch["alpha"] = batch["target"].new_full(batch["len"].shape, alpha)
        loss = step(k, batch)
        fit.after(k, loss, alpha=alpha, **getattr(step, "facts", {}))
    fit.finish()


if __name__ == "__main__":
    config.launch(main, Config, __doc__)
