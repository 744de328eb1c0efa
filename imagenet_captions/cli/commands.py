"""List the commands and say what each does; the help of the program reads this alone and imports no command."""

# The commands in the order in which a user meets them.
SECTIONS = {
    "Make a dataset": {
        "demo": "Run everything on a small bundled sample, with a Flickr stand-in on this machine.",
        "build": "Make the dataset in one command, from the published JSON (--release) or from Flickr (--urls).",
        "match": "Find the Flickr photo of every image in ImageNet's URL lists: matches.parquet.",
        "extract-yfcc": "Extract the matched photos from YFCC100M's metadata: yfcc.parquet, for --yfcc.",
        "crawl": "Ask Flickr for the photos of matches.parquet and keep every answer in photos.sqlite.",
        "clean": (
            "Turn titles, descriptions and tags into captions: captions.parquet, from a release, a crawl, or YFCC100M."
        ),
        "package": "Write captions and images as a dataset folder of Parquet shards that load_dataset reads.",
        "verify": (
            "Check a dataset against its manifest: every file's bytes, the schema, the order, and that the counts "
            "add up."
        ),
    },
    "Use a dataset": {
        "filter": "Keep some rows of a dataset: as a smaller dataset (--out), or as a list of their ids (--out-ids).",
        "export": "Write a dataset as open_clip CSV, WebDataset, slim CSV, attribution list or the published JSON.",
        "stats": (
            "Print what a dataset has: coverage by class and field, frequencies, languages, lengths, licenses, "
            "duplicates."
        ),
        "diff": "Compare two datasets: ids lost and gained, texts changed, by field and class.",
        "explain": (
            "Explain one image: its texts, what cleaning changed, caption, mentions, outcome, license and attribution."
        ),
        "label-by-text": (
            "Label captions by the classes that they name, and say how often that is right where the class is known."
        ),
        "score": (
            "Write how similar a model finds each image and its caption; `filter --scores` reads it. A killed run "
            "resumes."
        ),
        "publish": (
            "Publish a dataset on the Hugging Face Hub, all of it in one commit; the token is that of `hf auth login`."
        ),
    },
    "Repeat the experiments": {
        "train": "Train a model, or go on with a run that was stopped. The same command does both.",
        "evaluate": (
            "Measure a model's accuracy on test sets: zero-shot, by a classifier made of images, or by its own head."
        ),
        "compare": (
            "Compare evaluated models on the same images: differences, McNemar's test, and the classes that moved most."
        ),
        "ablate": (
            "Run one of the paper's five experiments or the one on domains, or what is missing of it; write a report."
        ),
        "robustness": "Measure how far models are above what ImageNet accuracy predicts under natural shifts.",
        "trajectories": (
            "Measure every kept checkpoint of runs, and draw accuracy under shift against accuracy along training."
        ),
        "frequency": (
            "Relate the accuracy of each class to its training images, and to the training captions that name it."
        ),
        "export-model": (
            "Write a trained model in the files of open_clip, timm or transformers, checked with that library's "
            "own loader."
        ),
    },
}
ABOUT = {name: about for commands in SECTIONS.values() for name, about in commands.items()}

# The modules of this folder that define a command and have the name of another.
_MODULES = {
    **dict.fromkeys(("demo", "match", "extract-yfcc", "crawl", "clean", "package", "verify"), "build"),
    **dict.fromkeys(("diff", "explain"), "stats"),
    **dict.fromkeys(("compare", "frequency"), "evaluate"),
    **dict.fromkeys(("trajectories",), "robustness"),
    **dict.fromkeys(("export-model",), "export"),
}


def module_of(name: str) -> str:
    """Return the name of the module that defines a command."""
    return f"imagenet_captions.cli.{_MODULES.get(name, name.replace('-', '_'))}"
