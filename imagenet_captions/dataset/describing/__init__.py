"""What a dataset folder says about itself: its card for people, and `croissant.json` for programs."""
