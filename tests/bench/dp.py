"""Section dp: a clipped sum of per-sample gradients, beside the gradient without privacy.

    plain, -compiled   our gradient without privacy: what the cost of privacy is measured by
    fast, -compiled    clipped row by row, by book-keeping          func    by vmap(grad)
    hf                 transformers' gradient without privacy
    hooks, ghost       Opacus over transformers: per-sample gradients, or norms and a second pass
    noise, adamw       of our model, apart; noise-secure, -normal: Opacus' noise for it, of four
                       draws against floating-point attacks, or of one, which ends at 5.8 sigma
    private-step       all of it, as a private run does: clipped sum, noise, AdamW

Forward, backward and clip only, but for the last three. Peers "-shipped" in float32, with PyTorch's
settings and sdpa; "-equal" in our dtype with our route and attention. error: relative L2 distance
from dp.func_sum in float32, the clip being the median norm.
"""

import math

import torch
import torch.nn.functional as F
from torch import nn

from tests.bench import machine, models, step
from tests.bench.harness import Case, Variant
from w2s import device as devices
from w2s.dp import microbatch
from w2s.dp import private_run
from w2s.dp import sgd as dp
from w2s.model import checkpoint
from w2s.train import step as product

PEERS = ("hf", "hooks", "ghost")
APART = ("noise", "noise-secure", "noise-normal", "adamw", "private-step")


def of_class(f, b):
    return F.cross_entropy(f(b["ids"], b["len"]), b["y"], reduction="none")


def of_lm(f, b):
    return f.nll(b["ids"], b["len"], b["mask"]) / (b["len"] - 1)


class Bench:
    """One model and batch; each method gives a function without arguments, most of them one that
    computes a gradient {name: tensor}."""

    def __init__(self, setting, head):
        self.device, self.dtype, self.setting = setting.device, setting.dtype, setting
        self.model = models.model_of(setting.shape, head, self.device)
        batch = models.batch_of(setting.shape, head, self.device)
        self.batch = {key: batch[key] for key in ("ids", "mask", "len", "y")}
        self.objective = {"class": of_class, "lm": of_lm}[head]
        self.known = self.limit = None

    def twin(self):
        """The model again, sharing its weights: hooks and compiled code of the variants apart."""
        m = self.model
        return models.model_with(m.config, m.kind, m.state_dict(), self.device)

    @property
    def clip(self):
        """The median norm of the rows' gradients."""
        if self.limit is None:
            m = self.model
            norms = [dp.func_sum(m, self.objective, part, 1)[1]
                     for part in microbatch.micro_batches(m, self.batch, True)]
            self.limit = float(torch.cat(norms).quantile(.5))
        return self.limit

    def reference(self):
        """The clipped sum by func, in float32."""
        if self.known is None:
            self.known = dp.private_gradient(self.model, self.objective, self.batch, self.clip, 0,
                                             1, None, "func")
        return self.known

    def plain(self, compile=False):
        m = self.twin()

        def losses_of(batch):
            return self.objective(m, batch)

        if compile:
            losses_of = torch.compile(losses_of, dynamic=self.device.type == "cpu")

        def run():
            with devices.autocast(self.device, self.dtype):
                loss = losses_of(self.batch).mean()
            loss.backward()
            taken(m)
        return run

    def private(self, method, compile=False):
        m, clip = self.twin(), self.clip

        def run():
            with devices.autocast(self.device, self.dtype):
                return dp.private_gradient(m, self.objective, self.batch, clip, 0, 1, None, method,
                                           compile=compile)
        return run

    def noise(self):
        values = [dp.zeros(p) for p in self.model.parameters()]
        draw = torch.Generator(self.device)
        return lambda: dp.add_noise(values, 1e-3, draw)

    def noise_of_opacus(self, secure):
        """Opacus' noise, drawn, added and divided as its optimizer does."""
        from opacus.optimizers.optimizer import _generate_noise
        values = [dp.zeros(p) for p in self.model.parameters()]
        draw = torch.Generator(self.device).manual_seed(1)

        def run():
            for value in values:
                value += _generate_noise(1e-3, value, draw, secure)
        return run

    def adamw(self):
        m = self.copy()
        for p in m.parameters():
            p.grad = torch.full_like(p, 1e-3)
        return product.adamw(m, 0.0).step

    def private_step(self):
        m, rows = self.copy(), len(self.batch["y"])
        plan = private_run.Plan(rows=100 * rows, expected_batch=rows, steps=10 ** 6, clip=1.0,
                            sigma=1.0,
                       delta=1e-5, epsilon=math.inf, accountant="rdp", sampling="poisson",
                       method="fast", noise_seed="run")
        go = private_run.make_step(m, product.adamw(m, step.LR),
                                   lambda f, b, *_: self.objective(f, b), None, None, plan.steps,
                                   private=plan, dtype=self.dtype)
        count = iter(range(plan.steps))

        def run():
            go(next(count), self.batch)
        return run

    def copy(self):
        """The model again with weights of its own, to be trained."""
        m = self.model
        weights = {name: value.clone() for name, value in m.state_dict().items()}
        return models.model_with(m.config, m.kind, weights, self.device)

    def peer(self, kind, equal):
        """transformers' model: its gradient ("hf"), or Opacus' sum by hooks or by ghost norms."""
        eager = equal and self.device.type == "cpu"
        m, optimizer = models.transformer(self.model, eager, self.device), None
        f, criterion, more = m, nn.CrossEntropyLoss(), {}
        if kind != "hf":
            f, optimizer, criterion = opacus_of(kind, m, criterion, self.clip, len(self.batch["y"]))
        ids, target = self.batch["ids"], self.batch["y"]
        if self.model.kind == "lm":
            target = ids[:, 1:].flatten()
            more = {"shape": (len(ids), ids.shape[1] - 1)} if kind == "ghost" else {}
        dtype = self.dtype if equal else "float32"

        def run():
            with devices.autocast(self.device, dtype):
                logits = f(input_ids=ids, use_cache=False).logits
                if self.model.kind == "lm":
                    logits = logits[:, :-1].flatten(0, 1)
                loss = criterion(logits, target, **more)
            loss.backward()
            if kind == "hooks":
                optimizer.clip_and_accumulate()
            found = taken(m, "summed_grad" if kind == "hooks" else "grad")
            if optimizer:
                optimizer.zero_grad(set_to_none=True)
            return None if kind == "hf" else found
        return run if equal else models.shipped(run, self.setting)

    def lacks(self, kind):
        """Why a peer is not run here, or None."""
        sizes = [p.numel() for p in self.model.parameters()]
        need = 4 * len(self.batch["y"]) * (sum(sizes) + max(sizes)) if kind == "hooks" else 0
        if need > machine.free(self.device):
            return f"its per-sample gradients need {need / 1e9:.0f} GB"
        return models.missing("transformers", *["opacus"] * (kind != "hf"))


def opacus_of(kind, m, criterion, clip, rows):
    """(model, optimizer, loss) as PrivacyEngine makes them for grad_sample_mode hooks or ghost."""
    from opacus import grad_sample, optimizers
    from opacus.utils.fast_gradient_clipping_utils import DPLossFastGradientClipping
    ghost = kind == "ghost"
    f = (grad_sample.GradSampleModuleFastGradientClipping(m, max_grad_norm=clip) if ghost
         else grad_sample.GradSampleModule(m))
    optimizer = (optimizers.DPOptimizerFastGradientClipping if ghost else optimizers.DPOptimizer)(
        torch.optim.SGD(m.parameters(), 0.0), noise_multiplier=0.0, max_grad_norm=clip,
        expected_batch_size=rows)
    return f, optimizer, DPLossFastGradientClipping(f, optimizer, criterion) if ghost else criterion


def taken(m, attribute="grad"):
    """{our name: gradient}, no longer the parameters'."""
    found = {checkpoint.RENAMED.get(name, name): getattr(p, attribute)
             for name, p in m.named_parameters()}
    for p in m.parameters():
        p.grad = None
    return found


def distance(found, expected):
    """Relative L2 distance over all parameters."""
    parts = [((found[name].float() - value).norm() ** 2, value.norm() ** 2)
             for name, value in expected.items()]
    return math.sqrt(sum(float(a) for a, _ in parts) / sum(float(b) for _, b in parts))


def case(setting, head):
    bench, own = Bench(setting, head), setting.dtype
    variants = {"plain": Variant(bench.plain, own),
                "plain-compiled": Variant(lambda: bench.plain(True), f"{own}, compiled"),
                "fast": Variant(lambda: bench.private("fast"), own),
                "fast-compiled": Variant(lambda: bench.private("fast", True), f"{own}, compiled")}
    if not setting.compile or head == "lm" and setting.device.type == "cpu":
        del variants["fast-compiled"]                     # of a wide head it would not be compiled
    if not setting.compile:
        del variants["plain-compiled"]
    bases = tuple(variants)
    if head == "class":
        variants["func"] = Variant(lambda: bench.private("func"), own)
    for kind in PEERS:
        for end, equal in (("shipped", False), ("equal", True)):
            variants[f"{kind}-{end}"] = Variant(
                lambda kind=kind, equal=equal: bench.peer(kind, equal),
                step.described(setting, equal), bench.lacks(kind))
    for name, secure in (("noise-secure", True), ("noise-normal", False)):
        variants[name] = Variant(lambda secure=secure: bench.noise_of_opacus(secure), "float32",
                                 models.missing("opacus"))
    variants |= {"noise": Variant(bench.noise), "adamw": Variant(bench.adamw),
                 "private-step": Variant(bench.private_step, own)}

    def error(first, second):
        return distance(first, bench.reference()) if isinstance(first, dict) else None
    rows, tokens = bench.batch["ids"].shape
    name = {"class": "classification", "lm": "language model"}[head]
    return Case("dp", f"gradients clipped row by row, {name}, pythia-{setting.shape}, {rows} x "
                f"{tokens}, {own}", variants, bases, error,
                memory=tuple(name for name in variants if name not in APART[:-1]))


def cases(setting, section):
    return [case(setting, head) for head in ("class", "lm")]
