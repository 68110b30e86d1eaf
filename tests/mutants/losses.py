"""Errors in Eq. (1), its hardened prediction and its ramp, and in the four regularisers."""

LOSSES, FAIRNESS = "w2s/losses.py", "w2s/tasks/fairness.py"

ERRORS = [
    # Eq. (1)
    (LOSSES, "(1 - alpha) * cross_entropy(logits, weak)", "cross_entropy(logits, weak)",
     "test_equations.py::test_equation_1"),
    (LOSSES, "alpha * cross_entropy(logits, hard)", "alpha * cross_entropy(logits, weak)",
     "test_equations.py::test_equation_1"),
    (LOSSES, "-(target * wide(logits).log_softmax(-1)).sum(-1)",
     "-(target * wide(logits).log_softmax(-1)).mean(-1)", "test_equations.py::test_equation_1"),
    (LOSSES, "prior[1].clamp(0, 1)", "prior[0].clamp(0, 1)",
     "test_equations.py::test_equation_1_hardens_by_a_threshold_that_gives_the_classes_their_weights"
     ),
    (LOSSES, "(p[:, 0] < t).long()", "(p[:, 0] <= t).long()",
     "test_losses.py::test_ramp_is_linear_and_ties_go_to_class_0"),
    (LOSSES, "RECENT = 256", "RECENT = 257",
     "test_losses.py::test_hardening_remembers_256_scores_per_pool_and_resumes"),
]
