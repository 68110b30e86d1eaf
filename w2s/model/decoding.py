"""Generation with a key-value cache: prompts read once, continued greedily or by sampling.

B rows, T tokens, D hidden, V vocabulary, P predicted tokens.
"""

import torch

from w2s.model.network import Cache
from w2s.model.kernels import largest


class Continuation:
    """Prompts read once and continued token by token, with a key-value cache.

    ids (B, T) right-padded, lengths (B,); `room` tokens may follow. h (B, D): the final-LayerNorm
    state of each row's newest token. Tokens may be fed again from any place i: what stood there and
    behind it is forgotten, so several continuations share one reading of the prompt. Raises
    ValueError where prompt and room exceed max_position_embeddings."""

    def __init__(self, model, ids, lengths, room):
        assert model.kind == "lm", 'rule: a continuation needs head="lm"'
        ids = ids[:, :int(lengths.max())]  # padding (CUDA's is wider) must not count as prompt
        self.model, self.lengths, self.room = model, lengths, ids.shape[1] + room
        if self.room > model.positions:
            raise ValueError(f"generate: {ids.shape[1]} prompt + {room} new tokens exceed the "
                             f"model's {model.positions} positions; shorten the prompt or ask for "
                             "fewer")
        self.caches = [Cache(self.room) for _ in model.blocks]
        self.h = model.last_state(ids, lengths, caches=self.caches)

    def feed(self, token, i):
        """Append token (B,), the i-th behind each prompt; returns the new h (B, D)."""
        # masking by position hides what the cache still holds behind i
        x = self.model.embed(token[:, None])                                      # (B, 1, D)
        positions = (self.lengths + i)[:, None]
        place = self.model.place_at(positions, self.room, x.dtype)
        for block, cache in zip(self.model.blocks, self.caches):
            x = block(x, place, None, cache)
        self.h = self.model.norm(x[:, 0])
        return self.h


def side_by_side(model, limit):
    """Number of tokens, of prompts and behind them, that are continued at once: at most `limit`."""
    # on a GPU their keys and values may take a quarter of its memory, at 8 bytes a token, layer and
    # dimension: two numbers of float32
    p, c = next(model.parameters()), model.settings
    if p.device.type == "cuda":
        memory = torch.cuda.get_device_properties(p.device).total_memory
        width = c.get("key_width", c["hidden_size"])  # of grouped queries keys are fewer
        limit = min(limit, memory // (4 * 8 * c["num_hidden_layers"] * width))
    return limit


@torch.no_grad()
def generate(model, ids, lengths, new_tokens, temperature=0.0, generator=None, end=None,
             watch=None):
    """Continue each row from its own last real token: (B, new_tokens) int64.

    temperature 0 is greedy, else softmax(logits / temperature) is sampled by one uniform number a
    token, (B, new_tokens) in [0, 1): drawn from `generator` (None: torch's global one), or given as
    a tensor in its place. A row that wrote `end` goes on with `end`; when all did, nothing more is
    computed. watch(h, logits, token) is called for each token with the state h (B, D) before it,
    its logits (B, V) and the token (B,), then once with (h, None, None) for the last state. Raises
    ValueError where prompt and new tokens exceed max_position_embeddings, and when logits to sample
    from were not finite."""
    assert temperature >= 0, f"rule: temperature >= 0, got {temperature}"
    draws = generator
    if temperature and not torch.is_tensor(draws):
        device = generator.device if generator else ids.device
        draws = torch.rand(len(ids), new_tokens, generator=generator, device=device).to(ids.device)
    row = Continuation(model, ids, lengths, new_tokens)
    out = ids.new_full((len(ids), new_tokens), 0 if end is None else end)
    done = torch.zeros_like(lengths, dtype=torch.bool)
    finite = torch.ones_like(done)
    for i in range(new_tokens):
        if temperature or watch:
            logits = model.head(row.h)
            finite &= logits.amax(-1).isfinite()  # asked once at the end: no wait for a GPU here
            u = draws[:, i] if temperature else None
            out[:, i] = sample(logits, temperature, u)
        else:  # nobody reads the logits, so the product may have another shape
            out[:, i] = greedy(model, row.h)
        if end is not None:
            out[:, i].masked_fill_(done, end)
            done |= out[:, i] == end
        if watch:
            watch(row.h, logits, out[:, i])
        if end is not None and done.all():
            break
        if i + 1 < new_tokens or watch:
            row.feed(out[:, i], i)
    if watch:
        watch(row.h, None, None)
    if temperature and not finite.all():
        raise ValueError("generate: the model's output is not finite")
    return out


def greedy(model, h):
    """(B,) the most probable token behind each state h (B, D). On CPU by W h^T, which takes half
    the time of h W^T (4.2 against 9.0 ms at 14m, B = 32), and by runs of 128 as in `largest`."""
    weight = model.unembed.weight  # capping keeps the order of the logits
    if h.device.type != "cpu" or len(weight) % 128:
        return model.head(h).argmax(-1)
    runs = (weight @ h.T).unflatten(0, (-1, 128))                                 # (V/128, 128, B)
    best = runs.amax(1).argmax(0)                                                 # (B,)
    return best * 128 + runs[best, :, torch.arange(len(h))].argmax(-1)


def sample(logits, temperature, u):
    """logits (B, V) -> (B,) int64: where the distribution function passes u (B,), in [0, 1)."""
    if temperature == 0:
        return largest(logits)
    # inversion, so that a row's token depends on its own u alone and not on the batch around it
    z = logits.float()
    cdf = ((z - z.amax(-1, keepdim=True)) / temperature).softmax(-1).cumsum(-1)
    # cdf's end is 1 but for rounding: scale u to it, and stay inside the vocabulary
    return (cdf <= u[:, None] * cdf[:, -1:]).sum(-1).clamp(max=logits.shape[-1] - 1)
