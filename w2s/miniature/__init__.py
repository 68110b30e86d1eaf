"""A small world of our own, the town of Alderby, and the two base models that know its text.

    lexicon   its words and phrases          pretrain   a language model from text
    town      its documents and its rows     recipe     shapes, steps, what is published
    world     its raw files on disk          probes     what a base model knows
"""
