"""Trust functions: which labels of a teacher are right, and how good that judgement is."""
