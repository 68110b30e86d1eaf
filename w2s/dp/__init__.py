"""DP-SGD by per-sample gradients, the same by book-keeping, its noise and its accounts, Eq. (6)."""

from w2s import names_of

__getattr__ = names_of(__name__, "sgd", "private_run", "microbatch")
