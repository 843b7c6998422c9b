"""A training run: its learners, its processes, its checkpoints and what it reports."""
