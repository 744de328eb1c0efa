"""Where data lives: on this machine, or behind an fsspec URL such as s3://bucket/dataset."""
