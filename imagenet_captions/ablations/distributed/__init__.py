"""An ablation in several processes: a team under torchrun, and trainings in a process of their own."""
