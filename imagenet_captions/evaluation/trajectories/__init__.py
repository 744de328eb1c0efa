"""Accuracy along training: the kept checkpoints of runs, measured on every test set and drawn."""
