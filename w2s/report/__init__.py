"""Finished runs to numbers, verdicts, tables and figures: python -m w2s.report"""

from w2s import names_of

__getattr__ = names_of(__name__, "__main__")
