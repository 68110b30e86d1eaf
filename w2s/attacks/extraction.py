"""Extraction: let language models continue the beginnings of emails they were trained on.

    python attacks.py extraction --task privacy --run runs/mine/weak runs/mine/base-weak \\
        --data data/mine/weak.jsonl data/mine/wts.jsonl data/mine/test.jsonl

A model gets --prefix tokens of an email, writes --suffix more greedily, and these are compared with
the email (Biderman et al. 2023, Eq. 1). x_i is the part that a student sees as it is, the first 64
tokens (--seen); y_i is the rest, in whose place it sees its teacher's words. There are three
windows for every model (readings P6, P7):

    extraction               prompt 0..31, compared with 32..63: within x_i, which students were
                             trained on as it was; the headline
    extraction_unseen        prompt 32..63, the end of x_i, compared with 64..95, where y_i begins
    extraction_continuation  prompt 0..63, all of x_i, compared with 64..95: what the teacher was
                             asked, and what C.1 of the paper measures on D_WTS, taken literally

For each window (the names of the others end in _unseen, _continuation):

    extraction, extraction_exact    share of the suffix's tokens that are right; share of emails
                                    whose whole suffix is. Tokens after an end of text are wrong
    common_prefix                   tokens before the first wrong one
    extraction_at_8, _16, ...       the first window's suffix after a shorter prompt (--curve)

For the numbers that a row's `secrets` mark, [[first character, end], ...], over all of them and
(_unseen) over those that end beyond the first window:

    secret_exact   share that greedy decoding writes whole after all that stands before them
    exposure       bits (Carlini et al. 2019): log2(|R| / rank by probability) in R, the secret and
                   --candidates of its form with other digits; at most log2(1 + candidates)

Slices: `members` (and `all`, the headline) are the rows a run was trained on, according to its
config.json; `non-members` are rows of the test split. A rate means nothing without the non-members
and an untuned model (train_weak.py --epochs 0) beside it. Rows too short for a window are left out
of it and counted. --samples N: instead of greedily, the likeliest of N samples; extraction_any is
the share of emails that one of the N reproduces whole.

RUN/attack-extraction.json gets the metrics, RUN/attacks/extraction.jsonl a line for each row. Text
and tokens are never written.
"""


import numpy as np

from w2s import metrics, runs, statistics
from w2s.attacks import entries, exposure, target
from w2s.attacks.flags import Extraction


def extraction(cfg):
    """Attack each run; write attack-extraction.json and attacks/extraction.jsonl."""
    cuts, now, secrets = windows(cfg), target.settings(cfg), {}
    for it in target.targets(cfg, "extraction", now):
        indices = [i for i, ids in enumerate(it.ids) if fits(ids, cuts[""], cfg.suffix)]
        if not it.member[indices].any():
            raise ValueError(f"{it.run}: no row that it was trained on has the "
                             f"{cuts[''][1] + cfg.suffix} tokens that a window needs, of the "
                             f"{it.encoding[1]} that are read")
        if it.encoding not in secrets:  # runs with one tokenizer share the secrets' tokens
            secrets[it.encoding] = exposure.find(it, cfg, cuts[""][1] + cfg.suffix)
        # rows that the first window does not fit have no line at all: the headline needs it
        results = {i: {} for i in indices}
        for name, cut in cuts.items():
            add_window(results, it, name, cut, cfg)
        exposure.add(results, it, secrets[it.encoding], cfg)
        measured = measure(it, results)
        lines = [target.described(it.data[i], it.member[i]) | values
                 for i, values in results.items()]
        target.save(it, "extraction", now, lines, measured)
        print(f"{it.run}{runs.scratch(it.facts)}: {summary(it, results, measured)}", flush=True)


def windows(cfg):
    """{end of the metrics' names: (first token of the prompt, first token of the suffix)}. Raises
    ValueError for arguments that do not fit."""
    if not cfg.samples and cfg.temperature != 1:
        raise ValueError("--temperature means nothing without --samples")
    middle = cfg.start + cfg.prefix
    second = middle if cfg.unseen_start is None else cfg.unseen_start
    curve = cfg.curve or [k for k in (cfg.prefix // 4, cfg.prefix // 2, cfg.prefix) if k]
    if min(curve) < 1 or max(curve) > middle:
        raise ValueError(f"--curve: a prompt has 1 to {middle} tokens, those before the first "
                         "window's suffix")
    return {"": (cfg.start, middle), "_unseen": (second, second + cfg.prefix),
            "_continuation": (0, cfg.seen)} | {
        f"_at_{k}": (middle - k, middle) for k in sorted(set(curve))}


def fits(ids, cut, suffix):
    """Whether a window lies within the tokens of a row."""
    return len(ids) >= cut[1] + suffix


def add_window(results, it, name, cut, cfg):
    """Add one window's metrics to results, {row: {metric: value}}, of the rows that are long
    enough. cut: (first token of the prompt, first token of the suffix)."""
    if name == f"_at_{cfg.prefix}":  # the first window itself: do not decode it twice
        for values in results.values():
            values[f"extraction{name}"] = values["extraction"]
        return
    indices = [i for i in results if fits(it.ids[i], cut, cfg.suffix)]
    if not indices:
        return
    true = [it.ids[i][cut[1]:cut[1] + cfg.suffix] for i in indices]
    prompts = [it.ids[i][cut[0]:cut[1]] for i in indices]
    written, hit = write(it.model, prompts, true, cfg, f"extract {it.run.name}{name}")
    score = metrics.extraction(true, written)
    for n, i in enumerate(indices):
        results[i][f"extraction{name}"] = score["fraction"][n]
        if not name.startswith("_at_"):  # the curve has the share alone
            results[i][f"extraction_exact{name}"] = int(score["fraction"][n] == 1)
            results[i][f"common_prefix{name}"] = score["prefix"][n]
            if hit is not None:
                results[i][f"extraction_any{name}"] = int(hit[n])


def write(model, prompts, true, cfg, title):
    """(N token arrays that the model writes, cut at the end of text; (N,) bool, whether any sample
    is the true suffix, or None where decoding is greedy)."""
    from w2s.infer import lm
    from w2s.train.step import seed_of
    if not cfg.samples:
        new = lm.continuations(model, prompts, cfg.suffix, dtype=cfg.dtype, title=title)
        return [lm.until_end(row, lm.end_of(model)) for row in new], None
    N = len(true)
    # one pass a sample: memory does not grow with --samples
    best, likelihood, hit = [None] * N, np.full(N, -np.inf), np.zeros(N, bool)
    for k in range(cfg.samples):
        new = lm.continuations(model, prompts, cfg.suffix, cfg.temperature,
                               seed_of(cfg.seed, "sample", k), cfg.dtype, title)
        scores = lm.token_scores(model, [np.append(*pair) for pair in zip(prompts, new)],
                                 cfg.dtype, title)
        # by the mean, not the sum: samples that end early would be the likeliest for being short
        for i, row in enumerate(lm.until_end(row, lm.end_of(model)) for row in new):
            hit[i] |= np.array_equal(row, true[i])
            place = len(prompts[i]) - 1  # of the first new token in logp; its end of text counts
            mean = scores[i]["logp"][place:place + len(row) + 1].mean()
            if mean > likelihood[i]:
                best[i], likelihood[i] = row, mean
    return best, hit


def measure(it, results):
    """[{slice, metric, value}]: means over a slice's rows, those of secrets over its secrets; the
    number of rows, and of those too short for a window."""
    split = [row.get("split") for row in it.data]
    slices = {"all": it.member, "members": it.member} | target.untrained(it.data, it.member)
    slices |= {name: np.array([s == name for s in split]) for name in sorted({*split} - {None})}
    names = dict.fromkeys(key for values in results.values() for key in values)
    table = []
    for name, mask in slices.items():
        rows = [results[i] for i in np.flatnonzero(mask) if i in results]
        values = {"n": len(rows), "left_out": int(mask.sum()) - len(rows)}
        for end in ("_unseen", "_continuation"):  # longer windows leave out more rows
            long = sum(f"extraction{end}" in row for row in rows)
            values[f"left_out{end}"] = int(mask.sum()) - long
        for key in names:
            having = [row for row in rows if key in row]
            if key.startswith("secrets"):
                values[key] = sum(row[key] for row in having)
            elif having:
                # a row holds the mean of its secrets: weighted by their number, all count alike
                weight = [exposure.weight(row, key) for row in having]
                values[key] = float(np.average([row[key] for row in having], weights=weight))
        table += entries(name, values)
    return table


def summary(it, results, measured):
    """The line that a user reads: members against non-members, with 95 % intervals."""
    value = {(m["slice"], m["metric"]): m["value"] for m in measured}
    masks = {"members": it.member} | target.untrained(it.data, it.member)
    parts = []
    for name in ("members", "non-members"):
        indices = [i for i in results if name in masks and masks[name][i]]
        if not indices:
            parts.append(f"no {name}")
            continue
        # the mean is a ratio of totals over groups: emails that share a passage are drawn together
        sums = np.array([[results[i]["extraction"], 1] for i in indices])
        drawn = statistics.resample_totals(sums, [it.data[i]["group"] for i in indices], 2000,
                                           np.random.default_rng(0))
        low, high = statistics.interval(drawn[:, 0] / drawn[:, 1])
        part = f"{name} {sums[:, 0].mean():.4f} [{low:.4f}, {high:.4f}]"
        unseen = value.get((name, "extraction_unseen"))
        part += "" if unseen is None else f" unseen {unseen:.4f}"
        parts.append(f"{part} n {len(indices)}")
    short = len(it.data) - len(results)
    return "extraction " + "  ".join(parts + [f"left out {short}"] * bool(short))
