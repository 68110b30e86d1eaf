"""Gaussian noise for privacy: secret keys, streams that do not meet, float64 numbers with tails.

A run's draws come from 128-bit keys, one for each purpose and step (`key_of`, `secret`). On a CPU
the noise of a key is cut into blocks of at most BLOCK numbers, and a block has an SFC64 generator
whose whole 192-bit state is a hash of key and block. SFC64 is a bijection of its state that counts
its steps in it, so two blocks, which both begin at 1, could share a state only by beginning with
the same 192 bits. A step of a 12B model has 11,445 blocks; for the 1e10 blocks of a million such
steps that has probability 1e-38 (birthday bound), two equal keys among a million steps 1e-27.

The numbers are exact but for rounding. Below the normal density lie rectangles, WIDTH wide, whose
areas are whole multiples of 1/SLOTS. Of a random number of 53 bits the first 16, a slot, say in
which rectangle it lies and the others where in it, on a lattice of 2^-43. The 1 % of slots without
a rectangle stands for what rectangles leave of the density, wedges and tails, and is drawn from
just that (`rest`). A vectorised normal_ in float32 ends at 5.77 standard deviations; these end
nowhere.

On CUDA each slice of at most SLICE numbers is drawn by torch's Philox, whose 64-bit seed is drawn
from the key: two of the 716 slices of a 12B model's step are equal with probability 1e-14. Its
Box-Muller numbers, in float64 too, end at 8.6 standard deviations, beyond which lies 1e-17.
"""

import functools
import hashlib
import math
import secrets
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch

from w2s import parallel

BLOCK = 2 ** 20       # numbers that one generator draws, at most
SLICE = 2 ** 24       # the same on CUDA: 134 MB in float64
CHUNK = 2 ** 15       # numbers that are worked on at a time: they stay in the cache
WIDTH, REACH, SLOTS = 1 / 64, 4, 2 ** 16  # of a rectangle; where the tails begin; of the table
PIECES, BITS = 4, 32  # in which a secret travels to other processes, as int64


# ---- keys ----------------------------------------------------------------------------------------

def key_of(*parts):
    """A 128-bit key, a hash of the parts (an identity, a seed, a purpose, a step)."""
    # the separator keeps (1, 23) and (12, 3) apart
    digest = hashlib.sha256("/".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:16], "big")


def secret():
    """128 bits from the system, the same in every process of a group; kept nowhere."""
    # in pieces, because a tensor of int64 holds no 128 bits
    value = secrets.randbits(PIECES * BITS)
    if parallel.world() > 1:
        parts = torch.tensor([value >> BITS * i & 2 ** BITS - 1 for i in range(PIECES)])
        torch.distributed.broadcast(parts, 0)
        value = sum(part << BITS * i for i, part in enumerate(parts.tolist()))
    return value


class Source:
    """A sequence of keys from one key, an integer of any size (a torch.Generator takes 64 bits)."""

    def __init__(self, key):
        self.key, self.used = int(key), 0

    def next(self):
        """The next 128-bit key."""
        self.used += 1
        return key_of("source", self.key, self.used)


def next_key(generator):
    """A 128-bit key from a Source or a torch.Generator, which moves on."""
    if isinstance(generator, Source):
        return generator.next()
    # the seed as well: torch's generator on the CPU starts from the low 32 bits of it alone
    drawn = torch.randint(2 ** 63 - 1, (2,), generator=generator, device=generator.device)
    return key_of("generator", generator.initial_seed(), *drawn.tolist())


def stream(key, block):
    """numpy's Generator of SFC64 whose state is a hash of key and block, warmed up as SFC64 is."""
    words = np.frombuffer(hashlib.sha256(f"{key}/{block}".encode()).digest()[:24], "<u8")
    # the state itself, all 192 bits: numpy's seeding would keep 128 of them
    bits = np.random.SFC64(0)
    bits.state = bits.state | {"state": {"state": np.append(words, np.uint64(1))}}
    bits.random_raw(12, output=False)
    return np.random.Generator(bits)


# ---- numbers -------------------------------------------------------------------------------------

@functools.cache
def tables():
    """(slots (SLOTS,): where the slot's rectangle begins, or nan; flat (C,): heights of the
    rectangles; over (C,): how much higher the density is at most; the mass of one tail). Float64;
    C cells of one side, from 0 to REACH."""
    edges = np.arange(0, REACH + WIDTH, WIDTH)
    density = np.exp(-edges ** 2 / 2) / math.sqrt(2 * math.pi)
    # rounded down at a cell's outer edge, where the density is least: a rectangle stays below it
    count = np.floor(SLOTS * WIDTH * density[1:]).astype(int)
    begin = np.repeat(edges[:-1], count)
    slots = np.full(SLOTS, math.nan)
    slots[:2 * len(begin)] = np.concatenate([begin, -begin - WIDTH])
    flat = count / (SLOTS * WIDTH)
    return slots, flat, density[:-1] - flat, math.erfc(REACH / math.sqrt(2)) / 2


@functools.cache
def aliases():
    """(stay (C + 1,), alias (C + 1,)): alias table (Walker 1977) of the cells' `over` and the tail.

    A cell i drawn uniformly stays i with probability stay[i], else it becomes alias[i]."""
    _, _, over, tail = tables()
    mass = np.append(over * WIDTH, tail)
    stay, alias = mass * len(mass) / mass.sum(), np.arange(len(mass))
    small, large = (list(np.flatnonzero(side)) for side in (stay < 1, stay >= 1))
    # each step fills up one cell that has too little from one that has more than its share
    while small and large:
        i, j = small.pop(), large[-1]
        alias[i] = j
        stay[j] -= 1 - stay[i]
        if stay[j] < 1:
            small.append(large.pop())
    stay[small + large] = 1  # 1 but for rounding
    return stay, alias


def rest(n, draw):
    """(n,) float64 from what the rectangles leave of the normal density, by rejection: a point in a
    cell's `over`, taken where it is below the density, or one of a tail. draw: numpy Generator."""
    (_, flat, over, _), (stay, alias) = tables(), aliases()
    flat, over, pieces = np.append(flat, 0), np.append(over, 0), []
    while n > 0:
        # one random number gives the cell and, by its fraction, the choice of cell or alias
        u = draw.random(int(1.8 * n) + 64) * len(stay)
        cell = u.astype(int)
        cell = np.where(u - cell < stay[cell], cell, alias[cell])
        # height in (-1, 1): its sign becomes that of the number, its size is tested
        x, height = (cell + draw.random(len(u))) * WIDTH, 2 * draw.random(len(u)) - 1
        density = np.exp(-x * x / 2) / math.sqrt(2 * math.pi)
        good = np.flatnonzero(np.abs(height) * over[cell] < density - flat[cell])[:n]
        x, far = x[good], np.flatnonzero(cell[good] == len(stay) - 1)
        x[far] = tail(len(far), draw)
        pieces.append(np.copysign(x, height[good]))
        n -= len(good)
    return np.concatenate(pieces) if pieces else np.zeros(0)


def tail(n, draw):
    """(n,) float64, normal numbers above REACH (Marsaglia 1964): exponential numbers, rejected by
    their squares. draw: numpy Generator."""
    x, todo = np.empty(n), np.arange(n)
    while len(todo):
        # the density at REACH + e falls as e^(-REACH e) e^(-e^2 / 2): one is drawn, one tested
        excess = draw.standard_exponential(len(todo)) / REACH
        good = 2 * draw.standard_exponential(len(todo)) > excess ** 2
        x[todo[good]], todo = REACH + excess[good], todo[~good]
    return x


def add(values, std, generator, divisor=1):
    """Turn every number v of the tensors into (v + std z) / divisor, in place, z standard normal.

    values: contiguous tensors, float32 or float64, of one device. generator: a Source or a
    torch.Generator, which moves on. One key gives the same numbers, whatever the number of
    threads. Limits of floating point: reading P15."""
    values, key = [value.view(-1) for value in values], next_key(generator)
    if values and values[0].device.type != "cpu":
        _on_device(values, std, key, divisor)
        return
    blocks = _blocks(values)
    # begin + SLOTS WIDTH u lies in the slot's rectangle, u being the whole random number
    begin = torch.from_numpy(tables()[0] - np.arange(SLOTS) * WIDTH)

    def work(n):
        _add(blocks[n], stream(key, n), begin, std / divisor, divisor)

    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        list(pool.map(work, range(len(blocks))))


def _blocks(values):
    """Lists of parts of the tensors, in their order, each list of at most BLOCK numbers."""
    # blocks depend on the tensors' sizes alone, so threads may take them in any order
    blocks, room = [], 0
    for value in values:
        for piece in value.split(BLOCK):
            if len(piece) > room:
                blocks.append([])
                room = BLOCK
            blocks[-1].append(piece)
            room -= len(piece)
    return blocks


def _add(pieces, draw, begin, scale, divisor):
    """`add` for the tensors of one block.

    begin: where the rectangle of slot s begins, less s WIDTH; scale: the standard deviation after
    the division. Calls numpy or torch, whichever is faster at a step."""
    size = sum(map(len, pieces))
    holes = rest(size // 80 + 64, draw)  # for 1 % of the numbers; at 1.25 % never too few
    # buffers that are used again stay in the cache
    buffers = views = [torch.empty(CHUNK, dtype=dtype) for dtype in
                       (torch.float64, torch.int64, torch.float64, torch.bool, pieces[0].dtype)]
    for part in (part for piece in pieces for part in piece.mul_(1 / divisor).split(CHUNK)):
        if len(part) != len(views[0]):
            views = [buffer[:len(part)] for buffer in buffers]
        u, slot, x, none, z = views
        draw.random(out=u.numpy())
        np.multiply(u.numpy(), SLOTS, out=slot.numpy(), casting="unsafe")
        torch.index_select(begin, 0, slot, out=x).add_(u, alpha=SLOTS * WIDTH)  # exact: 53 bits
        hole = np.isnan(x.numpy(), out=none.numpy()).nonzero()[0]
        if len(hole) > len(holes):
            holes = rest(len(hole), draw)
        x.numpy()[hole], holes = holes[:len(hole)], holes[len(hole):]
        part.add_(z.copy_(x), alpha=scale)


def _on_device(values, std, key, divisor):
    """`add` for tensors on CUDA, by torch's Philox."""
    # in slices, since each needs as many float64 numbers beside it
    parts = [part for value in values for part in value.split(SLICE)]
    seeds = stream(key, 0).integers(0, 2 ** 64 - 1, len(parts), np.uint64, endpoint=True)
    for part, seed in zip(parts, seeds.tolist()):
        draw = torch.Generator(part.device).manual_seed(seed)
        z = torch.randn(len(part), generator=draw, dtype=torch.float64, device=part.device)
        part.copy_(z.mul_(std).add_(part).div_(divisor))
