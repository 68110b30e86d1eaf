"""Sensitivity: section 4.2 and Appendices A and B of Sun et al., arXiv 2501.00418."""
