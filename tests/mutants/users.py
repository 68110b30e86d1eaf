"""Errors in what users meet: flags, the terminal, how long it takes."""

CONFIG = "w2s/config.py"

ERRORS = [
    (CONFIG, 'nargs="+", action=_Several', 'nargs="+"',
     "test_config.py::test_a_list_that_is_given_twice_is_all_that_was_given"),
    (CONFIG, "values if before is self.default else [*before, *values]", "[*before, *values]",
     "test_config.py::test_a_list_that_is_given_twice_is_all_that_was_given"),
    (CONFIG, "before is self.default", "before == self.default",
     "test_config.py::test_a_list_that_is_given_twice_is_all_that_was_given"),
]
