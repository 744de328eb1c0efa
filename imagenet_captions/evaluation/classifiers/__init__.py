"""Classifiers on top of one image encoder: by texts, by examples, or by the model's own head."""
