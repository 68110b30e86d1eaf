"""GRPO (Shao et al. 2024, arXiv 2402.03300): a model writes a group of answers to each prompt and
learns from those that are better than their group.

    A_i = (r_i - mean r) / (std r + 1e-4)                            over the group    `advantages`
    loss = - mean min(rho A, clip(rho, 1 - eps, 1 + eps) A) + beta k3   over all tokens    `loss`

rho is p / p_old of a written token, k3 = e^d - d - 1 with d = log p_ref - log p. As trl 1.16 has it
by default: eps 0.2, beta 0 (no reference model), the mean over all tokens of the batch ("dapo"; the
paper's mean of each answer's mean favours short answers). tests/train/test_grpo.py compares.

B prompts, G answers of each, R = B G rows, T tokens of a prompt, N new tokens, P places, D hidden.
"""

import copy
import math
from typing import NamedTuple

import torch
import torch.nn.functional as F

from w2s import parallel
from w2s import device as devices
from w2s.model import decoding
from w2s.train.step import cosine, descend, seed_of, trained

# rows x (T + N) of a backward pass; 4 times as many are written side by side
TOKENS = {"cpu": 2 ** 12, "cuda": 2 ** 14, "mps": 2 ** 12}
# of the rows that are computed at a time
LOGITS = {"cpu": 2 ** 25, "cuda": 2 ** 28, "mps": 2 ** 25}


def advantages(rewards):
    """(G,) or (B, G) -> the same shape: how far each reward is above its group's mean, in the
    group's standard deviations (unbiased). Exactly 0 where all of a group are equal."""
    r = torch.as_tensor(rewards)
    r = r if r.is_floating_point() else r.float()
    spread = r.std(-1, keepdim=True) if r.shape[-1] > 1 else torch.ones_like(r)
    a = (r - r.mean(-1, keepdim=True)) / (spread + 1e-4)
    return a.masked_fill(silent(r)[..., None], 0.0)  # rounding of the mean is no signal


def silent(rewards):
    """(..., G) -> (...) bool: all rewards of the group are equal, so that it says nothing."""
    return (rewards == rewards[..., :1]).all(-1)


def loss(logp, old_logp, advantage, mask, clip=0.2, ref_logp=None, beta=0.0):
    """The clipped loss plus beta times the KL to the reference, a mean over all tokens: scalar.

    logp, old_logp, ref_logp (R, N) log p of the written tokens, in nats; advantage (R,); mask
    (R, N) 1 for tokens that count, what stands elsewhere does not matter. Tokens of answers whose
    advantage is 0 count in the mean: "dapo" divides by all that were written."""
    unused, a = mask == 0, advantage[:, None]
    # filled before exp: what stands beyond an answer may be anything, and inf * 0 is nan
    rho = (logp - old_logp).masked_fill(unused, 0).exp()
    losses = -torch.minimum(rho * a, rho.clamp(1 - clip, 1 + clip) * a)           # (R, N)
    if beta:
        d = (ref_logp - logp).masked_fill(unused, 0)
        losses = losses + beta * (d.exp() - d - 1)
    return (losses * mask).sum() / mask.sum().clamp(min=1)


# ---- answers -------------------------------------------------------------------------------------

def token_logp(model, ids, place, token, temperature=1.0):
    """(P,) log p of the tokens (P,) that follow the places (P,) of the flattened ids (R, T), under
    what they are sampled from, softmax(logits / temperature). Logits exist at these places only."""
    h = model.states(ids).flatten(0, 1).index_select(0, place)                    # (P, D)
    return -model.token_nll(h / temperature, token)  # the head has no bias


class Answers(NamedTuple):
    """R rows, prompts and what the model wrote after them; the G of a prompt stand together."""
    ids: torch.Tensor         # (R, T + N) prompt, answer, padding
    len: torch.Tensor         # (R,) tokens of the prompt
    new: torch.Tensor         # (R, N) the answer
    mask: torch.Tensor        # (R, N) float32: 1 up to the first end token, which counts

    def take(self, rows):
        """The rows `rows` (n,), without columns that are padding in all of them."""
        ids, lengths, new, mask = (x[rows] for x in self)
        N = int(mask.sum(1).max())
        return Answers(ids[:, :int(lengths.max()) + N], lengths, new[:, :N], mask[:, :N])

    def logp(self, model, temperature=1.0, token_logp=token_logp):
        """(R, N) log p of the written tokens, 0 where the mask is."""
        row, n = self.mask.nonzero(as_tuple=True)                                 # (P,) each
        # the state at a place predicts the token behind it: the first answer token is predicted at
        # the prompt's last one
        place = row * self.ids.shape[1] + self.len[row] - 1 + n
        logp = token_logp(model, self.ids, place, self.new[row, n], temperature)
        return logp.new_zeros(self.mask.shape).index_put((row, n), logp)

    def tokens(self, end):
        """R lists of token ids, without the end token."""
        return [[t for t in row[:n] if t != end] for row, n in
                zip(self.new.tolist(), self.mask.sum(1).int().tolist())]


def write(model, ids, lengths, draws, temperature, end):
    """G answers to each prompt, ids (B, T) right-padded and lengths (B,): Answers. draws (B, G, N)
    in [0, 1) decide what is sampled, so an answer does not depend on the rows beside it."""
    _, group, N = draws.shape
    ids, lengths = (x.repeat_interleave(group, 0) for x in (ids[:, :int(lengths.max())], lengths))
    size = max(1, decoding.side_by_side(model, 4 * TOKENS[ids.device.type]) // (ids.shape[1] + N))
    new = torch.cat([decoding.generate(model, *part, N, temperature, u, end) for *part, u in
                     zip(*(x.split(size) for x in (ids, lengths, draws.flatten(0, 1))))])
    # the first end token counts as written, what follows it does not
    over = (new == end).cumsum(1) - (new == end).long()                           # ends before it
    place = lengths[:, None] + torch.arange(N, device=ids.device)
    ids = F.pad(ids, (0, N)).scatter(1, place, new)
    return Answers(ids, lengths, new, (over == 0).float())


def judge(reward, rows, answers, end):
    """(B, G) float32 rewards of the answers. Raises ValueError for one that is not finite."""
    tokens = answers.tokens(end)
    group = len(tokens) // len(rows)
    rewards = [[float(reward(row, answer)) for answer in tokens[i * group:(i + 1) * group]]
               for i, row in enumerate(rows.tolist())]
    # a reward that is nan would spread to the advantages of its whole group
    for row, values in zip(rows.tolist(), rewards):
        if not all(map(math.isfinite, values)):
            raise ValueError(f"GRPO: the rewards of row {row} are not finite: {values}")
    return torch.tensor(rewards)


def split(answers, advantage, beta, logits):
    """[(Answers, advantage, {})] of few rows each, at most `logits` places, for one backward pass
    after the other. Rows that give no gradient are left out: no advantage, and no KL."""
    rows = torch.arange(len(advantage), device=advantage.device)
    rows = rows if beta else rows[advantage != 0]
    size = min(logits // answers.new.shape[1], TOKENS[rows.device.type] // answers.ids.shape[1])
    return [(answers.take(part), advantage[part], {})
            for part in rows.split(max(1, size)) if len(part)]


def answered(model, reward, batch, draws, temperature, end, beta):
    """(parts, tokens, facts): the parts of this process's prompts, for one backward pass after the
    other; the tokens that all processes wrote, 0 where none of them has a gradient; facts about all
    answers. draws (B, G, N) of the whole batch."""
    (B, G, _), own_rows = draws.shape, slice(parallel.rank(), None, parallel.world())
    # with more processes than prompts the last ones write nothing, but add zeros to the sums
    parts, sums = [], [0] * 4
    if B > parallel.rank():
        answers = write(model, batch["ids"][own_rows], batch["len"][own_rows], draws[own_rows],
                        temperature, end)
        rewards = judge(reward, batch["rows"][own_rows], answers, end)
        logits = LOGITS[draws.device.type] // model.settings["vocab_size"]
        parts = split(answers, advantages(rewards).flatten().to(draws.device), beta, logits)
        sums = [rewards.double().sum(), silent(rewards).sum(), answers.mask.sum(), len(parts)]
    totals = parallel.add(torch.tensor(sums, dtype=torch.float64))
    rewarded, silent_groups, tokens, with_gradient = totals.tolist()
    facts = {"reward": rewarded / (B * G), "length": tokens / (B * G), "silent": silent_groups / B}
    return parts, tokens if with_gradient else 0, facts


# ---- the training step ---------------------------------------------------------------------------

def require(group, new_tokens, temperature, clip, beta, updates):
    """ValueError for settings without meaning."""
    for rule, good in {"group > 1": group > 1, "new_tokens > 0": new_tokens > 0,
                       "temperature > 0": temperature > 0, "clip > 0": clip > 0,
                       "beta >= 0": beta >= 0, "updates > 0": updates > 0}.items():
        if not good:
            raise ValueError(f"GRPO: {rule} is required")


def backward(model, reference, parts, total, temperature, clip, beta, dtype, logp_of):
    """Add the gradients of the loss over the rows of all parts, and return its value; `total`
    tokens were written by all processes. The first call notes old_logp and ref_logp in the parts.
    """
    device = next(model.parameters()).device
    value = torch.zeros((), device=device)
    for answers, advantage, noted in parts:
        with devices.autocast(device, dtype):
            logp = answers.logp(model, temperature, logp_of)
            if beta and not noted:
                with torch.no_grad():
                    noted["ref_logp"] = answers.logp(reference, temperature)
        noted.setdefault("old_logp", logp.detach())
        # weighted by its tokens, so that the parts add up to the mean over all tokens
        part_loss = loss(logp, advantage=advantage, mask=answers.mask, clip=clip, beta=beta,
                         **noted) * (answers.mask.sum() / total)
        part_loss.backward()
        value += part_loss.detach()
    if not parts:  # the other processes wait for this one's gradients, so it has zeros
        for p in trained(model):
            p.grad = torch.zeros_like(p)
    return parallel.add(value)


def make_step(model, optimizer, reward, steps, *, group=8, new_tokens, temperature=1.0, clip=0.2,
              beta=0.0, updates=1, end=0, seed=0, clip_norm=1.0, dtype="float32", compile=False,
              warmup=0, reference=None):
    """The training step: step(k, batch) -> mean loss of its updates (a 0-d tensor without
    gradient). step.facts, for the log, are of the last step: the mean reward, the mean length of an
    answer, and the share of silent groups, all of whose rewards are equal.

    batch: ids (B, T) right-padded prompts, len (B,), rows (B,) positions in the file. Each prompt
    is answered `group` times, sampled from (seed, "grpo", k); an answer ends at the token `end` or
    after new_tokens. reward(row, tokens) -> float; tokens, a list without `end`, may be empty.
    Then come `updates` steps of the optimizer on these answers. Only answers with an advantage are
    computed; the others count in the mean all the same. Where no group has a signal and beta is 0
    there is no optimizer step at all, and the loss is 0. reference: the model that beta > 0 holds
    to; None: a copy of `model` as it is now, so a resumed run has to give the one it began with.
    Raises ValueError for settings without meaning, rewards and losses that are not finite."""
    require(group, new_tokens, temperature, clip, beta, updates)
    device, peak = next(model.parameters()).device, optimizer.defaults["lr"]
    reference = reference if not beta or reference is not None else copy.deepcopy(model)
    logp_of = torch.compile(token_logp, dynamic=True) if compile else token_logp

    def step(k, batch):
        for param_group in optimizer.param_groups:
            param_group["lr"] = peak * cosine(k, steps, warmup)
        # drawn on the CPU, so that the draws do not depend on the device
        draw = torch.Generator().manual_seed(seed_of(seed, "grpo", k))
        draws = torch.rand(len(batch["ids"]), group, new_tokens, generator=draw).to(device)
        with devices.autocast(device, dtype):
            parts, tokens, step.facts = answered(model, reward, batch, draws, temperature, end,
                                                 beta)
        losses = [torch.zeros((), device=device)]
        for _ in range(updates if tokens else 0):
            losses.append(backward(model, reference, parts, tokens, temperature, clip, beta, dtype,
                                   logp_of))
            if device.type == "cpu" and not math.isfinite(losses[-1].item()):
                raise ValueError(f"the loss of step {k} is {losses[-1].item()}; rows of the batch: "
                                 f"{batch['rows'].tolist()}; try a smaller --lr")
            descend(model, optimizer, clip_norm)
        return sum(losses) / updates

    step.facts = {}
    return step
