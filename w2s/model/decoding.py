"""Generation with a key-value cache: prompts read once, continued greedily or by sampling.

B rows, T tokens, D hidden, V vocabulary, P predicted tokens.
"""

import os
import weakref

import torch

from w2s import device as devices
from w2s.model.network import Cache
from w2s.model.kernels import largest

ASKED = 16   # tokens after which a GPU is asked whether all rows have ended: to ask is to wait
ROUND = 64   # positions of which a Replay has a multiple: few shapes
_replays = weakref.WeakKeyDictionary()  # {model: (shape, its Replay)}, the last one of each


def advance(model, token, positions, caches):
    """(B, D) final-LayerNorm states of tokens (B,) at positions (B, 1), whose keys and values go
    into the caches."""
    x = model.embed(token[:, None])                                               # (B, 1, D)
    place = model.place_at(positions, caches[0].room, x.dtype)
    for block, cache in zip(model.blocks, caches):
        x = block(x, place, None, cache)
    return model.norm(x[:, 0])


class Replay:
    """`advance` for B rows and S positions in memory that stays: on CUDA recorded as a graph at the
    first token of its shape, and replayed for every other one, at one launch instead of hundreds.

    Used where the environment says W2S_GRAPHS=1, and off without it: on a CPU the same step gives
    the same tokens, but no card has recorded one yet. So the first replay is compared with the
    step itself; where they differ, or recording fails, one line says so and steps are launched as
    ever. Under bfloat16 a graph casts the weights at every token: less is won."""

    def __init__(self, model, rows, room, device):
        self.caches = [Cache(room) for _ in model.blocks]
        self.token = torch.zeros(rows, dtype=torch.int64, device=device)
        self.positions, self.graph, self.h = self.token[:, None].clone(), None, None

    def __call__(self, model, token, positions):
        self.token.copy_(token)
        self.positions.copy_(positions)
        if self.graph is None:
            self.graph = self.token.device.type == "cuda" and self.recorded(model)
        if not self.graph:
            return advance(model, self.token, self.positions, self.caches)
        self.graph.replay()
        return self.h.clone()  # the next replay overwrites it

    def recorded(self, model):
        """The graph, or False where none could be made that gives what the step gives."""
        step = model, self.token, self.positions, self.caches
        try:
            side, here = torch.cuda.Stream(), torch.cuda.current_stream()
            side.wait_stream(here)
            with torch.cuda.stream(side):  # so that libraries take their memory before
                expected = advance(*step)
            here.wait_stream(side)
            torch.clear_autocast_cache()  # casts of weights made before would be freed under it
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph, capture_error_mode="thread_local"):
                self.h = advance(*step)
            torch.clear_autocast_cache()
            graph.replay()
            if bool((self.h - expected).abs().max() <= 1e-2 * expected.abs().max()):
                return graph
            why = "its states are others"
        except RuntimeError as error:
            why = str(error).splitlines()[0]
        print(f"note: W2S_GRAPHS=1: generation goes on without a CUDA graph ({why})", flush=True)
        return False


def replay(model, rows, room):
    """The model's Replay for so many rows and at least `room` positions; None unless W2S_GRAPHS is
    1. The model's last one is dropped where it has another shape, or the weights moved."""
    if os.environ.get("W2S_GRAPHS") != "1":
        return None
    weights = [*model.parameters()]
    kind, room = weights[0].device.type, -(-room // ROUND) * ROUND
    shape = (rows, room, torch.is_autocast_enabled(kind) and torch.get_autocast_dtype(kind),
             torch.is_inference_mode_enabled(), *(p.data_ptr() for p in weights))
    if _replays.get(model, (None,))[0] != shape:
        _replays.pop(model, None)  # before the next one takes memory
        _replays[model] = shape, Replay(model, rows, room, weights[0].device)
    return _replays[model][1]


class Continuation:
    """Prompts read once and continued token by token, with a key-value cache.

    ids (B, T) right-padded, lengths (B,); `room` tokens may follow. h (B, D): the final-LayerNorm
    state of each row's newest token. Tokens may be fed again from any place i: what stood there and
    behind it is forgotten, so several continuations share one reading of the prompt. Raises
    ValueError where prompt and room exceed max_position_embeddings."""

    def __init__(self, model, ids, lengths, room):
        assert model.kind == "lm", 'rule: a continuation needs head="lm"'
        ids = ids[:, :int(lengths.max())]  # padding (CUDA's is wider) must not count as prompt
        self.model, self.lengths, places = model, lengths, ids.shape[1] + room
        if places > model.positions:
            raise ValueError(f"generate: {ids.shape[1]} prompt + {room} new tokens exceed the "
                             f"model's {model.positions} positions; shorten the prompt or ask for "
                             "fewer")
        self.replay = replay(model, len(ids), places)
        self.caches = self.replay.caches if self.replay else [Cache(places) for _ in model.blocks]
        self.h = model.last_state(ids, lengths, caches=self.caches)

    def feed(self, token, i):
        """Append token (B,), the i-th behind each prompt; returns the new h (B, D)."""
        # masking by position hides what the cache still holds behind i
        positions = (self.lengths + i)[:, None]
        self.h = self.replay(self.model, token, positions) if self.replay else advance(
            self.model, token, positions, self.caches)
        return self.h


def side_by_side(model, limit):
    """Number of tokens, of prompts and behind them, that are continued at once: at most `limit`."""
    # on a GPU their keys and values may take a quarter of what is free (other processes are there
    # too), at 8 bytes a token, layer and dimension: two numbers of float32
    p, c = next(model.parameters()), model.settings
    if p.device.type == "cuda":
        width = c.get("key_width", c["hidden_size"])  # of grouped queries keys are fewer
        memory = devices.free_memory(p.device)
        limit = min(limit, memory // (4 * 8 * c["num_hidden_layers"] * width))
    return limit


@torch.no_grad()
def generate(model, ids, lengths, new_tokens, temperature=0.0, generator=None, end=None,
             watch=None):
    """Continue each row from its own last real token: (B, new_tokens) int64.

    temperature 0 is greedy, else softmax(logits / temperature) is sampled by one uniform number a
    token, (B, new_tokens) in [0, 1): drawn from `generator` (None: torch's global one), or given as
    a tensor in its place. A row that wrote `end` goes on with `end`; when all did, nothing more is
    computed (on a GPU up to ASKED tokens later). watch(h, logits, token) is called for each token
    with the state h (B, D) before it, its logits (B, V) and the token (B,), then once with (h,
    None, None) for the last state. Raises ValueError where prompt and new tokens exceed
    max_position_embeddings, and when logits to sample from were not finite."""
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
        asked = end is not None and (ids.device.type == "cpu" or i % ASKED == ASKED - 1)
        if asked and done.all():
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
