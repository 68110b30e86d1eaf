"""On CUDA checkpoints are written behind training's back: copied to pinned memory, as fast as the
bus, then written by a thread while the next steps run."""

from concurrent.futures import ThreadPoolExecutor

import torch


class Behind:
    """One file at a time; the memory is kept for the next one."""

    def __init__(self):
        self.held, self.job = {}, None
        self.thread = ThreadPoolExecutor(1)  # which the interpreter waits for before it ends

    def write(self, write, tensors):
        """write(copies of tensors {name: tensor}), in the thread. Waits for the file before, and
        raises what that one raised."""
        self.wait()
        for name, x in tensors.items():
            if name not in self.held or self.held[name].shape != x.shape:
                self.held[name] = torch.empty(x.shape, dtype=x.dtype, pin_memory=True)
            self.held[name].copy_(x, non_blocking=True)
        torch.cuda.synchronize()  # all are copied: from now on training may change them
        self.job = self.thread.submit(write, {name: self.held[name] for name in tensors})

    def wait(self):
        """Until the last file is written; raises what its writing raised."""
        job, self.job = self.job, None
        if job:
            job.result()
