"""Accuracy by class against how often a class is in the training data."""
