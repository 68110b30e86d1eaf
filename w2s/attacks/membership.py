"""Membership inference: tell from log-probabilities which emails a model was trained on.

    python attacks.py membership --task privacy --run runs/mine/weak runs/mine/student \\
        --data data/mine/weak.jsonl data/mine/wts.jsonl data/mine/test.jsonl

Five scores of an email, each lower for a member:

    loss     mean negative log-probability of its tokens, in nats
    ref      loss minus the loss under the reference model, the untuned one (--reference): takes
             out how easy the email is. The strongest of the five on fine-tuned models, and so the
             headline
    zlib     summed negative log-probability divided by the bytes of the text, compressed
    min_k    mean negative log-probability of the --min-k least likely tokens (Shi et al. 2024)
    min_kpp  the same of (log p - mean) / sd over the vocabulary (Zhang et al. 2025, Min-K%++)

Members are the rows of --data that the run was trained on, according to its config.json;
non-members are rows of the test split (slice `all`). Other slices compare the same members with
other rows that the run was not trained on: a split, or a source, such as the Pile's emails.

    mia_auc            area under the ROC curve of ref; .5: no better than a guess
    mia_tpr_at_1fpr    true positive rate where at most 1 % of the non-members are taken for
                       members (also 5 and 0.1 %); null with fewer non-members than 100 (20, 1000)
    ..._low, ..._high  95 % bootstrap interval (slice all)
    mia_auc_loss, ...  area of each score; mia_auc_ref is mia_auc

A student is scored on the whole true email, and (_seen) on the first --seen tokens, which it was
trained on as they are; the rest of its training text was its teacher's.

RUN/attack-membership.json gets the metrics, RUN/attacks/membership.jsonl a line for each row. Text
and tokens are never written.
"""

import zlib

import numpy as np

from w2s import metrics, rows, runs, statistics
from w2s.attacks import entries, target
from w2s.attacks.flags import Membership

SCORES = ("loss", "ref", "zlib", "min_k", "min_kpp")
BOUNDS = {"mia_tpr_at_0.1fpr": .001, "mia_tpr_at_1fpr": .01, "mia_tpr_at_5fpr": .05}
DRAWS = 1000  # of the bootstrap


def membership(cfg):
    """Attack each run; write attack-membership.json and attacks/membership.jsonl."""
    now = target.settings(cfg, reference=cfg.reference and rows.sha256(base(cfg.reference)))
    cache = {}  # what runs share: the reference's log-probabilities, where tokens end
    for it in target.targets(cfg, "membership", now):
        refuse_one_sided(it)
        results = attack(it, cfg, cache)
        measured = measure(it, results, cfg.seed)
        lines = [target.described(it.data[i], it.member[i]) | values
                 for i, values in results.items()]
        target.save(it, "membership", now, lines, measured)
        print(f"{it.run}{runs.scratch(it.facts)}: {summary(measured)}", flush=True)


def refuse_one_sided(it):
    """ValueError without a member and a non-member of at least two tokens."""
    long = np.array([len(ids) > 1 for ids in it.ids])
    if not (it.member & long).any():
        raise ValueError(f"{it.run}: no row that it was trained on has two tokens")
    if not (target.untrained(it.data, it.member).get("non-members", ~long) & long).any():
        raise ValueError(f"--data: has no row that {it.run} was not trained on, of split 'test' "
                         "and of the members' source; add test.jsonl")


def attack(it, cfg, cache):
    """{row: {score: value}} of the rows with at least two tokens: nothing predicts the first.
    Raises ValueError when the untuned model is gone or no longer what the run was made from."""
    from w2s.infer import lm
    folder = str(base(cfg.reference) if cfg.reference else base(it.run, it.facts))
    if (folder, it.encoding) not in cache:
        # other weights under the same name would not calibrate this run
        if not cfg.reference and rows.sha256(folder) not in it.facts["inputs"].values():
            raise ValueError(f"{it.run}: was made from {folder}, which has changed since; pass "
                             "--reference FOLDER")
        cache[folder, it.encoding] = reference(it, folder, cfg)
    if it.encoding not in cache:
        cache[it.encoding] = ends(it)
    scores = lm.token_scores(it.model, it.ids, cfg.dtype, f"attack {it.run.name}", moments=True)
    lengths = {"": None}  # end of the scores' names: tokens that are scored, None for all
    if it.facts.get("script") == "train_student.py":
        lengths["_seen"] = cfg.seen
    results = {}
    for i, ids in enumerate(it.ids):
        if len(ids) < 2:
            continue
        results[i] = {"tokens": len(ids) - 1}
        for end, length in lengths.items():
            n = min(len(ids), length or len(ids))  # tokens, of which n - 1 are predicted
            # zlib compresses exactly what the scored tokens spell, not the email behind the cut
            text = it.data[i]["text"][:cache[it.encoding][i][n - 1]]
            part = {key: column[:n - 1] for key, column in scores[i].items()}
            values = judge(part["logp"], cache[folder, it.encoding][i][:n - 1], part["mean"],
                           part["sd"], text, cfg.min_k)
            results[i] |= {f"{key}{end}": value for key, value in values.items()}
    return results


def base(given, facts=None):
    """Folder of the untuned model: `given`, a folder or hub name; with `facts`, the model that the
    run folder `given` was made from. Raises ValueError when there is none."""
    from w2s import hub
    try:
        return hub.folder(given) if facts is None else runs.base(given, facts)
    except ValueError as error:
        raise ValueError(f"reference model {error}; pass --reference FOLDER") from None


def reference(it, folder, cfg):
    """N arrays of log-probabilities under the model in `folder`. Raises ValueError when its tokens
    are not those of the run."""
    from w2s.infer import lm
    from w2s.model import checkpoint, tokenization
    if tokenization.load_tokenizer(folder).get_vocab() != it.tokenizer.get_vocab():
        raise ValueError(f"{folder}: has another tokenizer than {it.run}; pass the model that it "
                         "was made from as --reference")
    model = checkpoint.load(folder, "lm", device=next(it.model.parameters()).device)
    tokenization.require_fit({"ids": it.ids}, model.config["vocab_size"], folder)
    scores = lm.token_scores(model, it.ids, cfg.dtype, "reference")
    return [row.get("logp", np.zeros(0)) for row in scores]


def ends(it):
    """N lists: for each token of a row, the character of the text behind it."""
    it.tokenizer.enable_truncation(it.encoding[1])
    encoded = it.tokenizer.encode_batch([row["text"] for row in it.data], add_special_tokens=False)
    return [[end for _, end in row.offsets] for row in encoded]


# ---- scores of one text --------------------------------------------------------------------------

def judge(logp, ref, mean, sd, text, k):
    """{score: value} of one text, lower for members. logp, ref (T,): log-probabilities under the
    run and the reference; mean, sd (T,): moments of log p over the vocabulary; text: what the
    tokens spell; k: share of the least likely tokens."""
    # in float64: the sum over a long email loses digits in float32
    logp, ref, mean, sd = (np.asarray(x, np.float64) for x in (logp, ref, mean, sd))
    scores = {"loss": -logp.mean(), "ref": ref.mean() - logp.mean(),
              "zlib": -logp.sum() / len(zlib.compress(text.encode())), "min_k": -lowest(logp, k),
              "min_kpp": -lowest(standardised(logp, mean, sd), k)}
    return {key: float(f"{value:.9g}") for key, value in scores.items()}


def lowest(values, k):
    """Mean of the lowest share k of values (T,): int(k T) of them, but at least one."""
    values = np.sort(np.asarray(values, np.float64))
    # 1e-9: k T may fall just below a whole number in floating point
    return values[:max(1, int(k * len(values) + 1e-9))].mean()


def standardised(logp, mean, sd):
    """(T,) (log p - mean) / sd, with sd of at least 1e-6: a sure model's sd underflows to 0."""
    return (logp - mean) / np.maximum(sd, 1e-6)


# ---- of all rows ---------------------------------------------------------------------------------

def measure(it, results, seed):
    """[{slice, metric, value}]: members against each kind of non-members; with intervals against
    the held-out ones, slice "all"."""
    groups = np.array([str(row["group"]) for row in it.data])
    untrained = target.untrained(it.data, it.member)
    slices = {"all": untrained.pop("non-members")} | untrained
    table = []
    for name, negatives in slices.items():
        indices = np.array([i for i in np.flatnonzero(it.member | negatives) if i in results],
                           dtype=int)
        member = it.member[indices]
        values = {"n": len(indices), "members": int(member.sum()),
                  "non_members": int((~member).sum()),
                  "left_out": int((it.member | negatives).sum()) - len(indices)}
        draw = name == "all" and weights(groups[indices], member, np.random.default_rng(seed))
        for end in ("", "_seen"):
            # a source may have no row of two tokens; only students have _seen
            if member.all() or f"ref{end}" not in results[indices[0]]:
                continue
            for score in SCORES:
                lower = [-results[i][f"{score}{end}"] for i in indices]
                point = rates(lower, member)
                drawn = rates(lower, member, draw) if name == "all" else None
                if score == "ref":
                    values |= named(point, drawn, end)
                area = {f"mia_auc_{score}": point["mia_auc"]}
                values |= named(area, drawn and {f"mia_auc_{score}": drawn["mia_auc"]}, end)
        table += entries(name, values)
    return table


def rates(score, member, weight=None):
    """{"mia_auc", "mia_tpr_at_...": float, or (D,) for weight (D, N)}. A rate is nan where there
    are fewer than 1 / bound non-members: one false positive would pass the bound."""
    fpr, tpr = metrics.roc(score, member, weight)
    # trapezoids: a tie of a member and a non-member counts half
    area = (np.diff(fpr) * (tpr[..., 1:] + tpr[..., :-1]) / 2).sum(-1)
    few = {name: (~member).sum() * bound < 1 for name, bound in BOUNDS.items()}
    return {"mia_auc": area} | {
        name: np.where(fpr <= bound + 1e-12, tpr, 0).max(-1) * (np.nan if few[name] else 1)
        for name, bound in BOUNDS.items()}


def named(point, drawn, end):
    """{metric: value} of rates, with intervals when `drawn` has bootstrap samples; nan is None."""
    values = {}
    for name, value in point.items():
        low, high = statistics.interval(drawn[name]) if drawn else (None, None)
        for kind, x in (("", value), ("_low", low), ("_high", high)):
            if x is not None:
                values[f"{name}{end}{kind}"] = None if np.isnan(x) else float(f"{x:.12g}")
    return values


def weights(groups, member, rng):
    """(DRAWS, N) how often a row counts in a bootstrap sample: groups of rows drawn with
    replacement, as many as there are, from members and from non-members apart."""
    # apart: a sample of both together could be without any member
    counts = np.zeros((DRAWS, len(member)))
    for side in (member, ~member):
        code = np.unique(groups[side], return_inverse=True)[1]
        G = code.max() + 1
        counts[:, side] = rng.multinomial(G, np.full(G, 1 / G), DRAWS)[:, code]
    return counts


def summary(measured):
    """The line that a user reads."""
    value = {m["metric"]: m["value"] for m in measured if m["slice"] == "all"}
    part = [f"mia_auc {value['mia_auc']:.4f} [{value['mia_auc_low']:.4f}, "
            f"{value['mia_auc_high']:.4f}]"]
    for name, bound in BOUNDS.items():
        if value[name] is not None:
            part.append(f"tpr at {100 * bound:g} % fpr {value[name]:.4f}")
    part += [f"{score} {value[f'mia_auc_{score}']:.4f}" for score in SCORES if score != "ref"]
    if "mia_auc_seen" in value:
        part.append(f"seen {value['mia_auc_seen']:.4f}")
    part += [f"left out {value['left_out']}"] * bool(value["left_out"])
    return "  ".join(part + [f"{value['members']} members, {value['non_members']} non-members"])
