"""ImageNet-Captions: rebuild it, load it, filter it."""
