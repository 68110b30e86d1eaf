"""Sections label, generate and ntf: what a teacher does, and what learns whether to trust it.

    label     class logits and last states of sentences of 47 tokens on average. Ours: predict,
              batches of 2048 padded tokens, longest rows first; "-logits" without states. Peers:
              transformers' forward with output_hidden_states, batches of 32 in file order or
              sorted by length, and "hf-equal-batches" with ours
    generate  50 tokens behind 50, greedily, 32 rows side by side; "ours-states": with certainty
              and states, as label.py needs them for free text
    ntf       ntf.fit on the states of 10,000 rows, on our route of products and on PyTorch's,
              beside the time to label so many (a part of them is labelled, and scaled up)

Peers "-shipped" in float32, with PyTorch's settings and sdpa; "-equal" in our dtype with our route
and attention. error of label: the largest difference of logits or states from ours in float32; of
generate: the share of tokens (of rows) that differ from ours; of ntf: epochs, not an error.
"""

import numpy as np
import torch

from tests.bench import models, step
from tests.bench.harness import Case, Variant
from w2s import device as devices
from w2s.infer import batching, choice, classify, lm
from w2s.model import decoding
from w2s.trust import ntf

BATCH, ROWS, PROMPT, NEW = 32, 512, 50, 50
POOL = 10_000                                             # rows of a pool


def lengths(n, seed=0):
    """(n,) tokens of short sentences: lognormal of mean 47, its logarithm's deviation .55."""
    drawn = np.random.default_rng(seed).lognormal(np.log(47) - .55 ** 2 / 2, .55, n)
    return drawn.round().clip(4, 256).astype(int)


def sentences(shape):
    return models.rows_of(lengths(16 if shape == "tiny" else ROWS), shape)


# ---- labelling -----------------------------------------------------------------------------------

def ours(m, ids, dtype, hidden=True):
    return lambda: classify.read_all(m, {"ids": ids}, dtype, "", hidden)["p"]


def forward(theirs, ids, dtype, device, groups):
    """Logits and last states of transformers' model, rows padded in the batches `groups`."""
    @torch.inference_mode()
    def run():
        found = None
        for pick in groups:
            batch, mask = models.padded(ids, pick, theirs.config.pad_token_id, device)
            with devices.autocast(device, dtype):
                out = theirs(input_ids=batch, attention_mask=mask, output_hidden_states=True,
                             use_cache=False)
            at = torch.arange(len(pick), device=device), mask.sum(1) - 1
            parts = [x.float().cpu().numpy() for x in (out.logits, out.hidden_states[-1][at])]
            found = found or [np.empty((len(ids), x.shape[1]), np.float32) for x in parts]
            for array, part in zip(found, parts):
                array[pick] = part
        return found
    return run


def orders(ids, device):
    """{name: batches of rows}."""
    size = np.array([len(row) for row in ids])

    def cut(order):
        return np.split(order, range(BATCH, len(ids), BATCH))
    return {"file": cut(np.arange(len(ids))), "sorted": cut(np.argsort(size, kind="stable")),
            "batches": batching.by_tokens(size, batching.TOKENS[device.type])}


def label(setting):
    device, dtype = setting.device, setting.dtype
    m, ids = models.model_of(setting.shape, "class", device), sentences(setting.shape)
    expected = ours(m, ids, "float32")()
    groups, lacks = orders(ids, device), models.missing("transformers")

    def peer(equal, order):
        def build():
            theirs = models.transformer(m, equal and device.type == "cpu", device).eval()
            run = forward(theirs, ids, dtype if equal else "float32", device, groups[order])
            return run if equal else models.shipped(run, setting)
        return Variant(build, f"{step.described(setting, equal)}, {WHICH[order]}", lacks)

    def error(first, second):
        return max(float(np.abs(a - b).max()) for a, b in zip(first, expected) if a is not None)
    variants = {"ours": Variant(lambda: ours(m, ids, dtype), dtype),
                "ours-logits": Variant(lambda: ours(m, ids, dtype, hidden=False), dtype),
                "hf-shipped": peer(False, "file"), "hf-shipped-sorted": peer(False, "sorted"),
                "hf-equal": peer(True, "file"), "hf-equal-sorted": peer(True, "sorted"),
                "hf-equal-batches": peer(True, "batches")}
    mean = sum(map(len, ids)) / len(ids)
    title = f"labels, pythia-{setting.shape}, {len(ids)} rows of {mean:.0f} tokens, {dtype}"
    return Case("label", title, variants, ("ours",), error)


WHICH = {"file": "file order", "sorted": "sorted by length", "batches": "our batches"}


# ---- generation ----------------------------------------------------------------------------------

def generate(setting):
    device, dtype = setting.device, setting.dtype
    prompt, new = (8, 8) if setting.shape == "tiny" else (PROMPT, NEW)
    m, draw = models.model_of(setting.shape, "lm", device), torch.Generator().manual_seed(2)
    ids = torch.randint(1, models.vocabulary(setting.shape), (BATCH, prompt), generator=draw)
    on, size = ids.to(device), torch.full((BATCH,), prompt, device=device)

    def own():
        with devices.autocast(device, dtype):
            return decoding.generate(m, on, size, new)

    def peer(equal):
        def build():
            theirs = models.transformer(m, equal and device.type == "cpu", device).eval()

            def run():
                with torch.inference_mode(), devices.autocast(
                        device, dtype if equal else "float32"):
                    return theirs.generate(
                        on, attention_mask=torch.ones_like(on), do_sample=False, max_new_tokens=new,
                        min_new_tokens=new, eos_token_id=None, pad_token_id=1)[:, prompt:]
            return run if equal else models.shipped(run, setting)
        return Variant(build, step.described(setting, equal), models.missing("transformers"))
    variants = {"ours": Variant(lambda: own, dtype),
                "ours-states": Variant(lambda: lambda: choice.written(
                    m, list(ids.numpy()), new, dtype=dtype, title=""), dtype),
                "hf-shipped": peer(False), "hf-equal": peer(True)}
    expected = own()

    def error(first, second):
        if torch.is_tensor(first):
            return float((first != expected).float().mean())
        ends = [lm.until_end(row) for row in expected.cpu().numpy()]
        return float(np.mean([a.tolist() != b.tolist() for a, b in zip(first[0], ends)]))
    title = (f"greedy generation, pythia-{setting.shape}, {BATCH} rows, {new} tokens behind "
             f"{prompt}, {dtype}")
    return Case("generate", title, variants, ("ours",), error)


# ---- the trust function --------------------------------------------------------------------------

def trust(setting):
    m, ids = models.model_of(setting.shape, "class", setting.device), sentences(setting.shape)
    D, draw = m.config["hidden_size"], torch.Generator().manual_seed(3)
    pool = 400 if setting.shape == "tiny" else POOL
    states = torch.randn(pool, D, generator=draw)
    right = (torch.rand(pool, generator=draw) < (states[:, :8].sum(1) / 2 + .5).sigmoid()).float()

    def fit():
        return ntf.fit(states, right)[1]
    variants = {"ours": Variant(lambda: fit, "float32"),
                "ours-shipped": Variant(lambda: models.shipped(fit, setting),
                                        "float32, PyTorch's settings"),
                "label": Variant(lambda: ours(m, ids, setting.dtype), setting.dtype,
                                 scale=pool / len(ids))}

    def error(first, second):
        return f"{first['epochs']} epochs" if isinstance(first, dict) else None
    title = (f"a trust function on {pool} states of {D}, and labelling {pool} rows by "
             f"pythia-{setting.shape}")
    return Case("ntf", title, variants, ("ours",), error, memory=())


def cases(setting, section):
    return [{"label": label, "generate": generate, "ntf": trust}[section](setting)]
