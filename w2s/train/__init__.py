"""Training: Eq. (1) and the losses, the step, GRPO, the rows of an embedding that data uses."""
