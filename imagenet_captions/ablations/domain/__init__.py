"""The sixth factor: the domains that a model has seen, after Kempf et al. (ICML 2025)."""
