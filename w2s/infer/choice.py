"""A prompt and the answer behind it: what mcqa, arithmetic and game share.

Prompt and answer are tokenised apart and joined; an answer begins with its blank. So the tokens of
a prompt are the same whatever follows it. B rows, T tokens, N rows of a file, O options of a row, D
hidden, V vocabulary.
"""

import numpy as np
import torch

from w2s import device as devices
from w2s.infer import batching, lm
from w2s.model import decoding, tokenization
from w2s.train import step

ROWS = {"cpu": 256, "cuda": 512, "mps": 256}  # rows continued at once; 64 on CPU: 1.8x the time


def tokens(tokenizer, texts):
    """list of N int32 arrays, whole texts."""
    tokenizer.no_truncation()
    return [np.array(e.ids, np.int32)
            for e in tokenizer.encode_batch(list(texts), add_special_tokens=False)]


def prompts(tokenizer, texts, max_tokens):
    """list of N int32 arrays: the last max_tokens tokens of each prompt, since the question stands
    at its end, behind the token that begins a text, where the tokenizer has one (reading T30). An
    empty prompt is one <|endoftext|>: something has to be read first."""
    begin, end = tokenization.marks(tokenizer)
    whole = [np.concatenate([np.array(begin, np.int32), ids]) for ids in tokens(tokenizer, texts)]
    return [tokenization.ending(ids, max_tokens, tokenizer) if len(ids) else
            np.array([end], np.int32) for ids in whole]


def options(tokenizer, offered):
    """N lists of int32 arrays: the tokens of each row's options."""
    flat = tokens(tokenizer, [option for offer in offered for option in offer])
    ends = np.cumsum([0, *map(len, offered)])
    return [flat[a:b] for a, b in zip(ends, ends[1:])]


def encode(tokenizer, heads, tails, max_length, end=False):
    """Columns to train on: ids (N arrays), the prompts `heads` and the answers `tails` joined, and
    start (N,), the place of the answer's first token. Where both exceed max_length tokens the
    prompt loses its beginning, down to one token, and then the answer its end. end: <|endoftext|>
    follows the answer."""
    stop = np.int32(tokenization.marks(tokenizer)[1])
    tails = [np.append(ids, stop) if end else ids for ids in tokens(tokenizer, tails)]
    # the answer leaves room for one token of the prompt at least
    tails = [ids[:max(1, max_length - 1)] for ids in tails]
    heads = [tokenization.ending(head, max(1, max_length - len(tail)), tokenizer)
             for head, tail in zip(prompts(tokenizer, heads, max_length), tails)]
    return {"ids": [np.concatenate(pair) for pair in zip(heads, tails)],
            "start": np.array([len(head) for head in heads])}


def batches(columns, *args, width=0, **kwargs):
    """step.batches with mask (B, T): 1 on the answer's tokens. Prompts without answers (GRPO) have
    no mask. width: as in step.batches, not needed."""
    for k, batch in step.batches(columns, *args, **kwargs):
        yield k, lm.masked(batch) if "start" in batch else batch


def objective(f, batch, ell, lam):
    """Mean of -log p(token | those before it) over the answer's tokens: (B,), in nats. Supervised
    fine-tuning on the answer, the teacher's or the true one, as in TF; `ell` is not needed."""
    mask, count = batch["mask"], batch["mask"][:, 1:].sum(1).clamp(min=1)
    if mask.device.type == "cuda":  # all results have one gradient then: nobody waits (make_step)
        return f.nll(batch["ids"], batch["len"], mask / count[:, None])
    return f.nll(batch["ids"], batch["len"], mask) / count


def side_by_side(model, lengths):
    """Index arrays of rows that are continued together: by tokens, and at most ROWS of them."""
    # a continuation reads one token of each row at a time, so its batches are larger than those
    # that read whole texts
    kind = next(model.parameters()).device.type
    rows, tokens = ROWS[kind], decoding.side_by_side(model, 4 * batching.TOKENS[kind])
    return [part for group in batching.by_tokens(lengths, tokens, kind)
            for part in np.split(group, range(rows, len(group), rows))]


# ---- answers to choose from ----------------------------------------------------------------------

def likelihoods(model, heads, options, dtype="float32", title="predict", states=False,
                per_token=True):
    """(logp, count, hidden) of N rows. logp: log p(option | prompt) in nats, N arrays (O,); count:
    tokens of each option, or without `per_token` 1, N arrays (O,); hidden: with `states` (N, D)
    float32, the final-LayerNorm state at the last token of the option with the largest
    logp / count (reading T1), else None. Raises ValueError for a model that is not finite.

    heads: N token arrays; options: N lists of token arrays. A prompt is read once, whatever the
    number of its options, by its keys and values. It loses its beginning where the model's
    positions do not suffice for it and the longest option of all.
    """
    def compute(batch, pick):
        return _chosen(model, batch, [options[i] for i in pick], states, per_token)

    # by the longest option of all rows, so that no prompt depends on its batch
    room = max(1, model.positions - max(len(ids) for row in options for ids in row))
    heads = [ids[-room:] for ids in heads]
    logp, hidden = [None] * len(heads), None
    count = [np.array([len(ids) if per_token else 1 for ids in row]) for row in options]
    groups = side_by_side(model, np.array([len(ids) for ids in heads]))
    for pick, (rows, h) in batching.forward(model, {"ids": heads}, groups, compute, dtype, title):
        for i, row in zip(pick, rows):
            logp[i] = row[:len(options[i])]
            if not np.isfinite(logp[i]).all():
                raise ValueError(f"{title or 'answers'}: the model's output is not finite (row "
                                 f"{i + 1})")
        if states:
            hidden = np.empty((len(heads), h.shape[1]), np.float32) if hidden is None else hidden
            hidden[pick] = h
    return logp, count, hidden


@torch.inference_mode()
def last_states(model, ids, dtype="float32", title="states"):
    """(N, D) float32: the final-LayerNorm state at the last token of each row; ids N token arrays.
    Raises ValueError for a model that is not finite."""
    def compute(batch, pick):
        return model.last_state(batch["ids"], batch["len"])

    ids = [row[-model.positions:] for row in ids]  # no more than the model has positions for
    lengths = np.array([len(row) for row in ids])
    kind = next(model.parameters()).device.type
    groups = batching.by_tokens(lengths, batching.TOKENS[kind], kind)
    hidden = None
    for pick, h in batching.forward(model, {"ids": ids}, groups, compute, dtype, title):
        hidden = np.empty((len(ids), h.shape[1]), np.float32) if hidden is None else hidden
        hidden[pick] = h.float().cpu().numpy()
    if not np.isfinite(hidden).all():
        raise ValueError(f"{title}: the model's output is not finite")
    return hidden


@torch.inference_mode()
def _chosen(model, batch, options, states, per_token):
    """(logp (B, O), h (B, D)) of a batch: one option after the other behind the prompts."""
    device, B, O = batch["ids"].device, len(options), max(map(len, options))
    M = max(len(ids) for row in options for ids in row)  # tokens of the longest option
    token, real = np.zeros((O, M, B), np.int64), np.zeros((O, M, B), bool)
    for b, row in enumerate(options):
        for o, ids in enumerate(row):
            token[o, :len(ids), b], real[o, :len(ids), b] = ids, True
    token, real = torch.from_numpy(token).to(device), torch.from_numpy(real).to(device)
    row = decoding.Continuation(model, batch["ids"], batch["len"], M)
    first = model.head(row.h).float().log_softmax(-1)                             # (B, V)
    logp, last = first.new_zeros(O, B), row.h.new_zeros(O, B, row.h.shape[1])
    for o in range(O):
        longest = max(len(ids[o]) for ids in options if len(ids) > o)
        logp[o] = first.gather(1, token[o, 0, :, None])[:, 0] * real[o, 0]
        # a state is that of the option's last token, so this token is fed too where states are due
        for m in range(longest if states and M > 1 else longest - 1):
            h = row.feed(token[o, m], m)
            last[o] = torch.where(real[o, m, :, None], h, last[o])
            if m + 1 < longest:
                step_logp = model.head(h).float().log_softmax(-1)
                logp[o] += step_logp.gather(1, token[o, m + 1, :, None])[:, 0] * real[o, m + 1]
    logp = logp.masked_fill(~real[:, 0], -torch.inf)  # options that a row does not have
    if not states:
        return logp.T.cpu().numpy(), None
    count = real.sum(1).clamp(min=1) if per_token else 1                          # (O, B)
    best = (logp.to(devices.widest(device)) / count).argmax(0)                      # (B,)
    rows = torch.arange(B, device=device)
    if M == 1:  # only the chosen option needs a state of its own
        return logp.T.cpu().numpy(), row.feed(token[best, 0, rows], 0).float().cpu().numpy()
    return logp.T.cpu().numpy(), last[best, rows].float().cpu().numpy()


# ---- answers written freely ----------------------------------------------------------------------

def written(model, heads, new_tokens, temperature=0.0, seed=0, dtype="float32", title="generate",
            names=None):
    """(texts, certain, hidden) of N rows. texts: the tokens that the model writes behind the prompt
    until <|endoftext|> or new_tokens, N arrays. certain (N, 3) float64: the geometric mean of their
    probabilities, the mean margin of the first over the second token, the mean entropy in nats.
    hidden (N, D) float32: the final-LayerNorm state at the last token written (reading T1), or at
    the prompt's last token where nothing is. Sampled as `lm.continuations`; names: N ids, or None.
    Raises ValueError for a model that is not finite."""
    def compute(batch, pick):
        draw = lm.draws(seed, [names[i] for i in pick], new_tokens, batch["ids"].device) \
            if temperature else None
        watch = Watch(len(pick), lm.end_of(model))
        return decoding.generate(model, batch["ids"], batch["len"], new_tokens, temperature,
                                 draw, watch.end, watch), watch

    texts, certain, hidden = [None] * len(heads), np.zeros((len(heads), 3)), None
    lengths = np.array([len(row) for row in heads])
    # the tokens to come count too: their keys and values are held
    groups, names = side_by_side(model, lengths + new_tokens), lm.names_of(heads, names)
    for pick, (new, watch) in batching.forward(model, {"ids": heads}, groups, compute, dtype,
                                               title):
        if hidden is None:
            hidden = np.empty((len(heads), watch.last.shape[1]), np.float32)
        hidden[pick], certain[pick] = watch.last.float().cpu().numpy(), watch.certain()
        for i, row in zip(pick, new.cpu().numpy()):
            texts[i] = lm.until_end(row, lm.end_of(model))
    if not np.isfinite(certain).all():
        raise ValueError(f"{title or 'answers'}: the model's output is not finite")
    return texts, certain, hidden


class Watch:
    """Called by decoding.generate before each token: how certain the tokens were, and the state at
    the last one, of each row."""

    def __init__(self, rows, end):
        self.sums, self.count, self.last, self.active = 0, 0, None, None
        self.rows, self.end = rows, end

    def __call__(self, h, logits, token):
        if self.last is None:
            self.last, self.active = h.clone(), torch.ones(self.rows, dtype=bool, device=h.device)
        self.last = torch.where(self.active[:, None], h, self.last)
        if logits is None:  # the call behind the last token, which has a state and no logits
            return
        self.active = self.active & (token != self.end)
        logp = logits.float().log_softmax(-1)
        top = logp.topk(2).values.exp()
        measures = torch.stack([logp.gather(1, token[:, None])[:, 0], top[:, 0] - top[:, 1],
                                -(logp.exp() * logp).sum(1)], 1)                  # (B, 3)
        measures = measures.to(devices.widest(h.device))
        self.sums = self.sums + measures * self.active[:, None]
        self.count = self.count + self.active

    def certain(self):
        """(B, 3): probability, margin, entropy; a row without a token: 0, 0 and 0."""
        # the mean of log p, so its exponential is the geometric mean of the probabilities
        means = (self.sums / self.count.clamp(min=1)[:, None]).cpu().numpy()
        means[:, 0] = np.exp(means[:, 0]) * (self.count > 0).cpu().numpy()
        return means
