"""How well a model finds that each image of a dataset agrees with its caption."""
