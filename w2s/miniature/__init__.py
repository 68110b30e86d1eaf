"""A small world of our own, the town of Alderby, and the base models that know its text.

    lexicon    its words and phrases         world      its raw files on disk
    town       its documents and its rows    pretrain   a language model from text
    citizens   its people, firms, letters    recipe     shapes, steps, what is published
    school     multiple-choice questions     probes     what a base model knows
    exercises  sums and games
"""

from w2s import names_of

__getattr__ = names_of(__name__, "__main__")
