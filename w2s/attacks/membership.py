"""Membership inference: guess from log-probabilities which mails a language model was trained on.

    python attacks.py membership --task privacy --run runs/mine/weak runs/mine/student \\
        --data data/mine/weak.jsonl data/mine/wts.jsonl data/mine/test.jsonl

Five scores of a mail, each lower for a member:

    loss     mean negative log-probability of its tokens, in nats
    ref      loss minus the loss under the reference model: the untuned one (--reference), which
             takes out how easy the mail is; the strongest of the five on fine-tuned models, so it
             is the headline
    zlib     summed negative log-probability over the bytes of the same text, compressed
    min_k    mean negative log-probability of the --min-k least likely tokens (Shi et al. 2024)
    min_kpp  the same of (log p - mean) / sd over the vocabulary (Zhang et al. 2025, Min-K%++)

Members are the rows among --data that the run was trained on, according to its config.json;
non-members are rows of the test split (slice `all`). Other slices put the same members against
other rows that the run was not trained on: a split, or a source, like the Pile's mails.

    mia_auc            area under the ROC curve of ref; .5: no better than a guess
    mia_tpr_at_1fpr    share of the members found when at most 1 % of the non-members are taken for
                       members (also 5 and 0.1 %); null with fewer non-members than 100 (20, 1000)
    ..._low, ..._high  its 95 % bootstrap interval (slice all)
    mia_auc_loss, ...  the area of each score; mia_auc_ref is mia_auc

A student is judged by the whole true mail, and with names that end in _seen by the first --seen
tokens, which it was trained on as they are; the rest was its teacher's.

RUN/attack-membership.json gets the metrics, RUN/attacks/membership.jsonl a line for each row. Text
and tokens are never written.
"""

import zlib
from dataclasses import dataclass

import numpy as np

from w2s import metrics, rows, runs, statistics
from w2s.attacks import target
from w2s.config import arg

SCORES = ("loss", "ref", "zlib", "min_k", "min_kpp")
BOUNDS = {"mia_tpr_at_0.1fpr": .001, "mia_tpr_at_1fpr": .01, "mia_tpr_at_5fpr": .05}
DRAWS = 1000  # of the bootstrap


@dataclass(kw_only=True)
class Membership(target.Attack):
    reference: str = arg(None, "model that was not fine-tuned, folder or hub name (default: the "
                         "--model of each run's training)")
    min_k: float = arg(0.2, "share of the tokens in min_k and min_kpp, at least one", above=0,
                       high=1)
    seen: int = arg(64, "students: tokens of a mail that they saw as they are (label.py --prefix)",
                    low=2)
    seed: int = arg(0, "varies the rows that --limit keeps and the bootstrap", low=0)


def membership(cfg):
    """Attack each run; write attack-membership.json and attacks/membership.jsonl."""
    now = target.settings(cfg, reference=cfg.reference and rows.sha256(base(cfg.reference)))
    known = {}  # what runs share: the reference's losses, the places of tokens
    for it in target.targets(cfg, "membership", now):
        refuse_one_sided(it)
        found = attack(it, cfg, known)
        measured = measure(it, found, cfg.seed)
        lines = [target.described(it.data[i], it.member[i]) | values for i, values in found.items()]
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


def attack(it, cfg, known):
    """{row: {score: value}} of the rows with at least two tokens: nothing predicts the first."""
    from w2s.infer import lm
    folder = str(base(cfg.reference) if cfg.reference else base(it.run, it.facts))
    if (folder, it.encoding) not in known:
        if not cfg.reference and rows.sha256(folder) not in it.facts["inputs"].values():
            raise ValueError(f"{it.run}: was made from {folder}, which has changed since; pass "
                             "--reference FOLDER")
        known[folder, it.encoding] = reference(it, folder, cfg)
    if it.encoding not in known:
        known[it.encoding] = ends(it)
    scores = lm.token_scores(it.model, it.ids, cfg.dtype, f"attack {it.run.name}", moments=True)
    lengths = {"": None}
    if it.facts.get("script") == "train_student.py":
        lengths["_seen"] = cfg.seen
    found = {}
    for i, ids in enumerate(it.ids):
        if len(ids) < 2:
            continue
        found[i] = {"tokens": len(ids) - 1}
        for end, length in lengths.items():
            n = min(len(ids), length or len(ids))  # tokens, of which n - 1 are predicted
            text = it.data[i]["text"][:known[it.encoding][i][n - 1]]
            part = {key: column[:n - 1] for key, column in scores[i].items()}
            each = judge(part["logp"], known[folder, it.encoding][i][:n - 1], part["mean"],
                         part["sd"], text, cfg.min_k)
            found[i] |= {f"{key}{end}": value for key, value in each.items()}
    return found


def base(given, facts=None):
    """The folder of an untuned model: the one given, or with `facts` that behind this run."""
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
    found = lm.token_scores(model, it.ids, cfg.dtype, "reference")
    return [row.get("logp", np.zeros(0)) for row in found]


def ends(it):
    """N lists: where in its row's text each token ends."""
    it.tokenizer.enable_truncation(it.encoding[1])
    encoded = it.tokenizer.encode_batch([row["text"] for row in it.data], add_special_tokens=False)
    return [[end for _, end in row.offsets] for row in encoded]


# ---- scores of one text --------------------------------------------------------------------------

def judge(logp, ref, mean, sd, text, k):
    """{score: value}, lower for members. logp, ref (T,) log-probabilities under the run and the
    reference, mean and sd (T,) of log p over the vocabulary, `text` what the tokens spell out."""
    logp, ref, mean, sd = (np.asarray(x, np.float64) for x in (logp, ref, mean, sd))
    found = {"loss": -logp.mean(), "ref": ref.mean() - logp.mean(),
             "zlib": -logp.sum() / len(zlib.compress(text.encode())), "min_k": -lowest(logp, k),
             "min_kpp": -lowest(standardised(logp, mean, sd), k)}
    return {key: float(f"{value:.9g}") for key, value in found.items()}


def lowest(values, k):
    """Mean of the lowest share k of values (T,): int(k T) of them, but at least one."""
    values = np.sort(np.asarray(values, np.float64))
    return values[:max(1, int(k * len(values) + 1e-9))].mean()


def standardised(logp, mean, sd):
    """(T,) (log p - mean) / sd; where the model is so sure that sd underflows, sd is 1e-6."""
    return (logp - mean) / np.maximum(sd, 1e-6)


# ---- of all rows ---------------------------------------------------------------------------------

def measure(it, found, seed):
    """[{slice, metric, value}]: the members against each kind of other rows; intervals for the
    held-out ones, which are "all"."""
    groups = np.array([str(row["group"]) for row in it.data])
    others = target.untrained(it.data, it.member)
    slices = {"all": others.pop("non-members")} | others
    result = []
    for name, other in slices.items():
        here = np.array([i for i in np.flatnonzero(it.member | other) if i in found], dtype=int)
        member = it.member[here]
        values = {"n": len(here), "members": int(member.sum()), "non_members": int((~member).sum()),
                  "left_out": int((it.member | other).sum()) - len(here)}
        draw = name == "all" and weights(groups[here], member, np.random.default_rng(seed))
        for end in ("", "_seen"):
            if member.all() or f"ref{end}" not in found[here[0]]:
                continue
            for score in SCORES:
                lower = [-found[i][f"{score}{end}"] for i in here]
                point = rates(lower, member)
                drawn = rates(lower, member, draw) if name == "all" else None
                if score == "ref":
                    values |= named(point, drawn, end)
                area = {f"mia_auc_{score}": point["mia_auc"]}
                values |= named(area, drawn and {f"mia_auc_{score}": drawn["mia_auc"]}, end)
        result += [{"slice": name, "metric": key, "value": value} for key, value in values.items()]
    return result


def rates(score, member, weight=None):
    """{"mia_auc", "mia_tpr_at_...": float, or (D,) for weight (D, N)}; a rate at a bound that the
    non-members are too few to resolve, fewer than 1 / bound, is nan."""
    fpr, tpr = metrics.roc(score, member, weight)
    area = (np.diff(fpr) * (tpr[..., 1:] + tpr[..., :-1]) / 2).sum(-1)
    few = {name: (~member).sum() * bound < 1 for name, bound in BOUNDS.items()}
    return {"mia_auc": area} | {
        name: np.where(fpr <= bound + 1e-12, tpr, 0).max(-1) * (np.nan if few[name] else 1)
        for name, bound in BOUNDS.items()}


def named(point, drawn, end):
    """{metric: value} of rates, with the intervals of `drawn` if there are any; undefined: None."""
    values = {}
    for name, value in point.items():
        low, high = statistics.interval(drawn[name]) if drawn else (None, None)
        for kind, x in (("", value), ("_low", low), ("_high", high)):
            if x is not None:
                values[f"{name}{end}{kind}"] = None if np.isnan(x) else float(f"{x:.12g}")
    return values


def weights(groups, member, rng):
    """(DRAWS, N) how often a row counts in a bootstrap sample: groups of rows drawn with
    replacement, from members and from non-members as many as there are."""
    found = np.zeros((DRAWS, len(member)))
    for side in (member, ~member):
        code = np.unique(groups[side], return_inverse=True)[1]
        G = code.max() + 1
        found[:, side] = rng.multinomial(G, np.full(G, 1 / G), DRAWS)[:, code]
    return found


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
