"""Train a model on images and texts: data, objectives, recipes, and the run itself."""
