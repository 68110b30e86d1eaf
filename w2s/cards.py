"""Cards (GPUs): which there are, which a command gets, and which of its failures are a card's.

No torch: a process that has asked CUDA holds a part of each card.
"""

import itertools
import os
import platform
import re
import shutil
import subprocess
import sys
from collections import Counter
from typing import NamedTuple

# What CUDA, torch and w2s.device say of a card that no command can use any more
LOST = ("uncorrectable ECC", "ECC error", "busy or unavailable", "device is unavailable",
        "devices unavailable", "GPU is lost", "fallen off the bus", "no CUDA-capable device",
        "hardware stack error", "no usable CUDA device", "No CUDA GPUs are available",
        "initialization error")
FULL = ("CUDA out of memory", "CUDA error: out of memory")
DIED = re.compile(r"exitcode\s*:\s*-\d+")          # torchrun, of a process that a signal ended
RANK = re.compile(r"local_rank: (\d+)")            # and of which one it was
SHARED = "W2S_CARD"  # set for a process that was given a card: auto must not take the CPU instead


def visible():
    """[name, ...]: the cards of CUDA_VISIBLE_DEVICES, else all that nvidia-smi lists."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is None:
        return [str(n) for n, _ in enumerate(line for line in asked("-L") if line[:4] == "GPU ")]
    names = (name.strip() for name in named.split(","))
    # as CUDA reads it: nothing counts from the first on that does not exist
    return list(itertools.takewhile(lambda name: name not in ("", "-1"), names))


def apple():
    """Whether this is a Mac with a GPU of Apple's. Asked without torch."""
    return sys.platform == "darwin" and platform.machine() == "arm64"


def check(device, dtype, private):
    """ValueError for a --device that no machine has, or that this one or the plan cannot use.
    private: whether some run is trained with differential privacy."""
    if not device:
        return
    if not re.fullmatch(r"auto|cpu|mps|cuda(:\d{1,4})?", device):
        raise ValueError(f"--device {device}: no such device; use auto, cpu, cuda, cuda:N or mps")
    if device == "mps":
        for wrong, why in ((not apple(), "--device mps: is a GPU of Apple's, and this is no such "
                            "Mac; use auto or cpu"),
                           (dtype == "bfloat16", "--dtype bfloat16: not with --device mps, which "
                            "computes in float32; leave one of them out"),
                           (private, "--device mps: cannot train privately, since noise needs "
                            "float64; leave privacy out of --tasks, or say auto, which takes the "
                            "CPU for it")):
            if wrong:
                raise ValueError(why)


def require(device):
    """ValueError for a device cuda or cuda:N that this machine does not have."""
    number = int(device.partition(":")[2] or 0)
    count = len(visible())
    if count <= number:  # a container may have CUDA without nvidia-smi; another process asks it
        asks = "import torch; print(torch.cuda.device_count())"
        done = subprocess.run([sys.executable, "-c", asks], capture_output=True, text=True)
        count = int(done.stdout) if done.stdout.strip().isdecimal() else 0
    if count <= number:
        raise ValueError(f"--device {device}: " + (f"there are {count} GPUs here, counted from 0" if
                         count else "there is no GPU here that CUDA can use; use auto or cpu"))


def chosen(count, device):
    """The cards that --gpus `count` means, all without it; device: a --device other than auto and
    cuda, under which none is handed out, or None. Raises ValueError where that cannot be."""
    if device:
        if count:
            raise ValueError(f"--gpus {count}: --device {device} says where everything runs; leave "
                             "one of the two out")
        return []
    names = visible()
    if count and count > len(names):
        raise ValueError(f"--gpus {count}: there are {len(names)} here (CUDA_VISIBLE_DEVICES, or "
                         "else nvidia-smi -L); ask for no more")
    return names[:count]


def memory():
    """Bytes of the smallest card, None where nvidia-smi does not say."""
    sizes = asked("--query-gpu=memory.total", "--format=csv,noheader,nounits")
    return min((int(size) * 2 ** 20 for size in sizes if size.strip().isdigit()), default=None)


def asked(*words):
    """The lines that nvidia-smi prints; none where it is not there or fails."""
    try:
        done = subprocess.run(["nvidia-smi", *words], capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return []
    return done.stdout.splitlines() if not done.returncode else []


def environment(cards):
    """Variables of a process that has these cards; none without cards. A CUDA_VISIBLE_DEVICES that
    was left where there is no GPU must not keep the CPU from the work."""
    return ({"CUDA_VISIBLE_DEVICES": ",".join(cards)} if cards else {}) | (
        {SHARED: "1"} if cards and shutil.which("nvidia-smi") else {})


class Use(NamedTuple):
    """The cards of a command that runs, and whether no other may share them."""
    cards: tuple
    alone: bool


class Seats:
    """Where commands run: at most `jobs` side by side, spread over the cards; without cards all in
    one place, ()."""

    def __init__(self, cards, jobs):
        self.cards, self.jobs = list(cards), jobs
        self.most = -(-jobs // len(cards)) if cards else jobs  # on one card

    def free(self, count, alone, uses):
        """The cards for a command that takes `count` of them, and more than one or `alone` for
        itself; None while they are taken. uses: [Use] of those that run."""
        if len(uses) >= self.jobs:
            return None
        if not self.cards:
            return ()
        load = Counter(card for use in uses for card in use.cards)
        if count > 1 or alone:
            empty = [card for card in self.cards if not load[card]]
            return tuple(empty[:count]) if len(empty) >= count else None
        shut = {card for use in uses if use.alone for card in use.cards}
        usable = [card for card in self.cards if load[card] < self.most and card not in shut]
        return (min(usable, key=lambda card: load[card]),) if usable else None

    def leave_out(self, card):
        """Give the card to no command any more."""
        if card in self.cards:
            self.cards.remove(card)
            self.jobs = min(self.jobs, self.most * len(self.cards))


def says(output, phrases):
    """The first of the phrases that stands in what a command printed, None."""
    return next((phrase for phrase in phrases if phrase in output), None)


def blamed(cards, code, output):
    """The card because of which a command failed, None where it was no card's fault. code: its exit
    code, below 0 when its process died; output: what it printed, torchrun's report too."""
    died = code < 0 or len(cards) > 1 and DIED.search(output)
    if not cards or not (died or says(output, LOST)):
        return None
    ranks = RANK.findall(output)
    place = int(ranks[-1]) if ranks and len(cards) > 1 else 0
    return cards[place] if place < len(cards) and (ranks or len(cards) == 1) else None
