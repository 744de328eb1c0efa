"""The dataset folder: its schema, shards, outcomes, card and manifest; packaging, filtering and every reader use it."""
