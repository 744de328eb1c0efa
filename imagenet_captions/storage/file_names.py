"""Names of the files that one command writes and another reads; `outcomes` has the name of the outcomes files."""

# What the stages of a build leave in its work folder.
MATCHES = "matches.parquet"
YFCC_PHOTOS = "yfcc.parquet"
PHOTO_STORE = "photos.sqlite"
CAPTIONS = "captions.parquet"

# In a dataset folder, beside its shards.
MANIFEST = "manifest.json"
CARD = "README.md"
CROISSANT = "croissant.json"

# In the folder of a training run, or where `evaluate` is asked to write it.
METRICS = "metrics.json"
