"""What training takes of the card, against the plan of w2s/memory.py: 8 rows of 512 tokens."""

from tests.bench import models, step
from tests.bench.harness import Setting
from tests.device import measure
from w2s import memory, parallel

MOST = 1.05                # times the plan
CASES = (("410m", False), ("1b", False), ("1b", True), ("2.8b", False))
TINY = (("tiny", False), ("tiny", True))


def run(rec):
    device, of = measure.card(rec)
    rows, tokens = of((8, 512), (4, 160))  # beyond 128 tokens attention is fused on a CPU too
    for shape, recompute in of(CASES, TINY):
        name = f"{shape}{', recomputed' * recompute}"
        with rec.piece(name):
            one(rec, device, shape, recompute, rows, tokens, name)


def one(rec, device, shape, recompute, rows, tokens, name):
    """Two steps of a language model."""
    config = models.config_of(shape) if shape != "tiny" else wide(models.config_of(shape))
    planned = (memory.states(memory.parameters(config), config["num_hidden_layers"], "lm", 1,
                             "bfloat16", False)
               + memory.activations(config, "lm", rows * tokens, "bfloat16", recompute)
               + memory.logits(config, "lm", rows * tokens, "bfloat16"))
    free = measure.machine.free(device)
    if planned > .95 * free:
        rec.check(f"{name}, left out", free / 1e9, "GB free")
        return

    def work():
        model = models.drawn(config, "lm", device)
        if recompute:
            parallel.recompute(model)
        batch = models.batch_of(shape, "lm", device, (rows, tokens))
        _, go = step.own_step(Setting(shape, "bfloat16", device), "lm", False, model)
        for _ in "12":
            go(0, batch)
    found = measure.peak(work, rec.pretended)
    rec.row(shape=shape, head="lm", dtype="bfloat16", mode="recomputed" if recompute else "kept",
            gb=found / 1e9, plan_gb=planned / 1e9)
    rec.check(f"{name}, allocated", found / planned, "of the plan", high=MOST, hard=True)


def wide(config):
    """Wide enough that what is not planned, a few bytes a token, does not count."""
    return config | {"hidden_size": 256, "intermediate_size": 1024, "num_attention_heads": 4}
