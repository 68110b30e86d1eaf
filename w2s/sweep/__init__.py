"""Sensitivity: section 4.2 and Appendices A and B of Sun et al., arXiv 2501.00418."""

from w2s import names_of

__getattr__ = names_of(__name__, "__main__")
