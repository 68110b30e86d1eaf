"""Sections step and lm: the whole training step, with clipping and AdamW, on rows of one length.

    ours           w2s.train.step.make_step with the task's own objective, cross-entropy
    ours-compiled  the same, compiled whole
    hf-shipped     transformers as Trainer runs it unless told: float32, sdpa, PyTorch's settings
    hf-equal       transformers with our dtype, route of products and attention, without a mask,
                   which right padding does not need

All clip the gradient at norm 1 and use the fused AdamW that Trainer uses too. error: the largest
relative difference of the first two losses from transformers' as shipped: before and after a step.
"""

import torch

from tests.bench import models
from tests.bench.harness import Case, Variant
from w2s import device as devices
from w2s.tasks import ood, privacy
from w2s.train import step

OBJECTIVE = {"class": ood.objective, "lm": privacy.objective}
LR = 1e-5


def own_step(setting, head, compile=False, model=None):
    """(model, step(k, batch)) as a training script makes them."""
    m = model or models.model_of(setting.shape, head, setting.device)
    return m, step.make_step(m, step.adamw(m, LR), OBJECTIVE[head], step.ground_truth, 0, 1,
                             dtype=setting.dtype, compile=compile)


def peer_step(setting, head, equal, compile=False):
    """(model, step(ids, mask, labels)) of transformers, as Trainer trains it."""
    base = models.model_of(setting.shape, head, setting.device)
    m = models.transformer(base, equal and setting.device.type == "cpu", setting.device)
    f = torch.compile(m) if compile else m
    optimizer = torch.optim.AdamW(m.parameters(), lr=LR, weight_decay=0.0, fused=True)
    dtype = setting.dtype if equal else "float32"

    def go(ids, mask, labels):
        with devices.autocast(setting.device, dtype):
            loss = f(input_ids=ids, attention_mask=None if equal else mask, labels=labels,
                     use_cache=False).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(m.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return loss.detach()
    return m, go


def ours(setting, head, compile=False):
    def build():
        batch, (_, go) = models.batch_of(setting.shape, head, setting.device), own_step(
            setting, head, compile)
        if head == "class":
            del batch["mask"]
        return lambda: go(0, batch)
    return Variant(build, f"{setting.dtype}{', compiled' * compile}")


def peer(setting, head, equal, compile=False):
    def build():
        batch, (_, go) = models.batch_of(setting.shape, head, setting.device), peer_step(
            setting, head, equal, compile)
        labels = batch["y" if head == "class" else "ids"]

        def run():
            return go(batch["ids"], batch["mask"].long(), labels)
        return run if equal else models.shipped(run, setting)
    how = described(setting, equal) + ", compiled" * compile
    return Variant(build, how, models.missing("transformers"))


def described(setting, equal):
    """The settings of a peer, in words."""
    on_cpu = setting.device.type == "cpu"
    if not equal:
        return f"float32, sdpa, {'MKL' if on_cpu else 'no TF32'}"
    return f"{setting.dtype}, {'eager attention, oneDNN' if on_cpu else 'sdpa, TF32'}"


def case(setting, head, section):
    rows, tokens = (models.TINY if setting.shape == "tiny" else models.SIZE)[head]
    variants = {"ours": ours(setting, head)}
    if setting.compile:
        variants["ours-compiled"] = ours(setting, head, True)
    variants |= {"hf-shipped": peer(setting, head, False), "hf-equal": peer(setting, head, True)}
    if setting.compile and setting.device.type == "cuda":
        variants["hf-equal-compiled"] = peer(setting, head, True, True)
    bases = tuple(name for name in variants if name.startswith("ours"))
    name = {"class": "classification step", "lm": "language-model step"}[head]
    return Case(section, f"{name}, pythia-{setting.shape}, {rows} x {tokens}, {setting.dtype}",
                variants, bases, against(setting, head),
                models.nominal_flops(setting.shape, head, rows, tokens))


def against(setting, head):
    """error(loss, loss after a step): relative, from the reference's two losses."""
    known = []

    def error(first, second):
        if not known:
            lacks = models.missing("transformers")
            reference = ours(setting, head) if lacks else peer(setting, head, False)
            run = reference.build()
            known.extend(float(run()) for _ in "12")
        return max(abs(float(a) - b) / abs(b) for a, b in zip((first, second), known))
    return error


def cases(setting, section):
    return [case(setting, {"step": "class", "lm": "lm"}[section], section)]
