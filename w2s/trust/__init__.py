"""Trust functions: which labels of a teacher are right, and how good that judgement is."""

from w2s import names_of

__getattr__ = names_of(__name__, "score_metrics")
