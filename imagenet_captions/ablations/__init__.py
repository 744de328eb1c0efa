"""The paper's five experiments as tables of runs, at the paper's size and in miniature."""
