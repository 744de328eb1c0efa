"""What a dataset folder is: its schema, shards, outcomes, card and manifest, for whatever stage writes or reads one."""
