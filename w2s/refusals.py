"""What a training script refuses before it begins: flags without effect, what cannot go together.
"""

import os

PRIVACY = {"optimizer", "clip", "noise_multiplier", "delta", "accountant", "sampling", "dp_method",
           "noise_seed", "canaries"}  # flags that only a task with a plan for DP takes
GRPO = {"group", "updates", "ratio_clip", "kl", "sampling_temperature", "new_tokens"}
MIXES = " (and with DP abs and squared are refused: a covariance of the batch mixes rows)"


def samples_answers(cfg):
    """Whether the student learns from answers that it samples; weak models have no objective."""
    return getattr(cfg, "objective", "") == "grpo"


def without_mps(private):
    """Why Apple's GPU cannot do this training, "" if it can."""
    if private:
        return "private training needs float64 for its noise, which Apple's GPU does not have"
    if int(os.environ.get("WORLD_SIZE", 1)) > 1:
        return "the processes of torchrun would share the one GPU of a Mac"
    return ""


def refuse_processes(cfg, processes, private):
    """ValueError for a way of training that this number of processes does not have."""
    sampled, several = samples_answers(cfg), processes > 1
    for wrong, why in (
            (sampled and cfg.shard == "on", "--shard on: not with --objective grpo, whose "
             "processes write answers at their own pace; leave it out"),
            (several and private and cfg.sampling == "shuffled", "--sampling shuffled: not in "
             "several processes; take poisson, or run it without torchrun"),
            (cfg.shard == "on" and cfg.compile == "on", "--compile on: not with --shard on, whose "
             "weights come and go; leave one of them out"),
            (private and cfg.recompute, "--recompute: not with DP, which needs what it drops; "
             "leave it out"),
            (private and cfg.shard == "on", "--shard on: not with DP, whose processes have the "
             "model each; leave it out"),
            (cfg.lora_rank and cfg.shard == "on", "--shard on: not with --lora-rank, which needs "
             "only 4 bytes for a weight that is frozen; leave it out"),
            (not several and cfg.shard == "on", "--shard on: there is one process, which shares "
             "with nobody; start it with torchrun --nproc-per-node=N")):
        if wrong:
            raise ValueError(why)


def refuse_order(cfg, epochs, private):
    """ValueError for an order of the rows, easy first, where rows have none or it would choose
    among them; epochs: passes over the data."""
    for wrong, why in (
            (samples_answers(cfg), "not with --objective grpo, whose prompts have no answer that "
             "could be easy"),
            (private, "not with DP, whose rows are drawn anew for each step"),
            (epochs < 1, f"--epochs {epochs:g} is less than a pass, and would leave out the "
             "hardest rows")):
        if wrong and getattr(cfg, "order", None) == "easy":
            raise ValueError(f"--order easy: {why}; leave it out")


def check(cfg, task):
    """ValueError for a lambda that the task's equation does not have, and for a flag that would be
    ignored: another task's, or the aux loss's at alpha 0."""
    # refused, since who gives a flag supposes that it was followed
    limit, why = task.LAM_MOST
    if cfg.lam is not None and cfg.lam > limit:
        raise ValueError(f"--lam {cfg.lam}: must be <= {limit} on --task {cfg.task}: {why}")
    alpha = getattr(cfg, "alpha", None)
    aux = {"threshold", "warmup"} if alpha == 0 else set()
    private, known = bool(task.plan), {*task.OPTIONS, *task.ENCODE}
    if private and alpha:
        raise ValueError(f"--alpha {alpha:g}: {task.MIXES}")
    foreign = {"penalty", "penalty_output", "noise_as", "adv_label", "lm_loss", "scoring"} - known
    foreign |= set() if private else PRIVACY
    foreign |= set() if samples_answers(cfg) else GRPO
    if samples_answers(cfg) and not task.exact:
        raise ValueError(f"--objective grpo: the answers of --task {cfg.task} are no free text; "
                         "it is for arithmetic and game")
    foreign |= {"label_kind", "threshold", "warmup"} if task.KIND != "class" else set()
    if task.KIND != "class" and not private:
        for name, value in (("lam", cfg.lam), ("alpha", alpha)):
            if value:
                raise ValueError(f"--{name} {value:g}: --task {cfg.task} has no regulariser and no "
                                 "confidence loss; leave it out")
    without = PRIVACY - {"optimizer"} if private and cfg.lam == 0 else set()
    without |= {"clip_norm"} if private and cfg.lam != 0 else set()
    for name, where in ([(name, f"on --task {cfg.task}") for name in sorted(foreign)]
                        + [(name, "with --alpha 0") for name in sorted(aux)]
                        + [(name, f"with --lam {cfg.lam}") for name in sorted(without)]
                        + [(name, "without --lora-rank") for name in ("lora_alpha", "save_adapter")
                           if not cfg.lora_rank]
                        + [(name, "with --epochs 0") for name in ("canaries", "lora_rank")
                           if cfg.epochs == 0]):
        field = type(cfg).__dataclass_fields__.get(name)
        if field and getattr(cfg, name) != field.default:
            why = MIXES if private and name == "penalty" else ""
            raise ValueError(f"--{name.replace('_', '-')} has no effect {where}{why}; leave it out")
    if private and cfg.optimizer == "sgd" and cfg.lr is None:
        raise ValueError("--optimizer sgd: its learning rate is not AdamW's; give --lr, for "
                         "example 0.5")
