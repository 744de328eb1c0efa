"""Ways to sort images into classes with one image encoder: by texts, by examples, or by the model's own head."""
