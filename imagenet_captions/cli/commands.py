"""The commands: what each does, its module and examples; the help of the program reads this and imports no command."""

from __future__ import annotations

from typing import NamedTuple


class Entry(NamedTuple):
    """A command: what it does, its module of this folder, and two examples."""

    about: str
    module: str
    examples: tuple[str, str]


# In the order in which a user meets them, each with what it does and two examples.
SECTIONS = {
    "Make a dataset": {
        "demo": (
            "Run everything on a small bundled sample, with a Flickr stand-in on this machine.",
            "demo",
            "demo --out sample --inputs tiny",
        ),
        "build": (
            "Make the dataset in one command, from the published JSON (--release) or from Flickr (--urls).",
            "build --release imagenet_captions.json --images ILSVRC2012_img_train --out imagenet-captions",
            "build --urls fall11_urls.txt --ids LOC_train_solution.csv --images ILSVRC2012_img_train --out rebuilt",
        ),
        "match": (
            "Find the Flickr photo of every image in ImageNet's URL lists: matches.parquet.",
            "match --urls fall11_urls.txt --ids LOC_train_solution.csv",
            "match --urls fall11_urls.txt --classes all --out all.parquet",
        ),
        "extract-yfcc": (
            "Extract the matched photos from YFCC100M's metadata: yfcc.parquet, for --yfcc.",
            "extract-yfcc yfcc100m_dataset.bz2",
            "extract-yfcc yfcc100m_dataset.sql --matches matches.parquet --out yfcc.parquet",
        ),
        "crawl": (
            "Ask Flickr for the photos of matches.parquet and keep every answer in photos.sqlite.",
            "crawl --limit 100",
            "crawl --key-file flickr.key --refresh 90",
        ),
        "clean": (
            "Turn titles, descriptions and tags into captions: captions.parquet, from a release, a crawl, or YFCC100M.",
            "clean --release imagenet_captions.json --out captions.parquet",
            'clean --matches matches.parquet --store photos.sqlite --caption "title tags"',
        ),
        "package": (
            "Write captions and images as a dataset folder of Parquet shards that load_dataset reads.",
            "package --images ILSVRC2012_img_train --out imagenet-captions",
            "package --out texts",
        ),
        "verify": (
            "Check a dataset against its manifest: every file's bytes, the schema, the order, and that the "
            "counts add up.",
            "verify imagenet-captions",
            "verify s3://bucket/imagenet-captions",
        ),
    },
    "Use a dataset": {
        "filter": (
            "Keep some rows of a dataset: as a smaller dataset (--out), or as a list of their ids (--out-ids).",
            "filter imagenet-captions --class dog --has title --out dogs",
            "filter imagenet-captions --class-list imagenette --per-class 100 --out-ids ids.txt",
        ),
        "export": (
            "Write a dataset as open_clip CSV, WebDataset, slim CSV, attribution list or the published JSON.",
            'export imagenet-captions --to webdataset --caption "title tags" --out shards',
            "export imagenet-captions --to open-clip-csv --images ILSVRC2012_img_train --out train.tsv",
        ),
        "stats": (
            "Print what a dataset has: coverage by class and field, frequencies, languages, lengths, licenses, "
            "duplicates.",
            "stats imagenet-captions",
            "stats imagenet-captions --html page.html --csv classes.csv",
        ),
        "diff": (
            "Compare two datasets: ids lost and gained, texts changed, by field and class.",
            "diff imagenet-captions rebuilt",
            "diff imagenet-captions rebuilt --raw --out changes",
        ),
        "explain": (
            "Explain one image: its texts, what cleaning changed, caption, mentions, outcome, license and attribution.",
            "explain imagenet-captions n01440764_10026",
            "explain rebuilt n01440764_10026 --work rebuilt.work --json",
        ),
        "label-by-text": (
            "Label captions by the classes that they name, and say how often that is right where the class is known.",
            "label-by-text cc12m.tsv --out labeled.parquet",
            "label-by-text yfcc100m_dataset.bz2 --mode strict --case-sensitive --out labeled.parquet",
        ),
        "score": (
            "Write how similar a model finds each image and its caption; `filter --scores` reads it. A killed "
            "run resumes.",
            "score imagenet-captions --model runs/contrastive --out scores.parquet",
            "score imagenet-captions --model open_clip:ViT-B-32@weights.safetensors --caption title --out "
            "titles.parquet",
        ),
        "publish": (
            "Publish a dataset on the Hugging Face Hub, all of it in one commit; the token is that of `hf auth login`.",
            "publish texts my-group/imagenet-captions --dry-run",
            "publish imagenet-captions my-group/imagenet-captions --with-images --private",
        ),
    },
    "Repeat the experiments": {
        "train": (
            "Train a model, or go on with a run that was stopped. The same command does both.",
            "train --show contrastive",
            "train imagenet-captions --objective contrastive --on imagenet=val --out runs/contrastive",
        ),
        "evaluate": (
            "Measure a model's accuracy on test sets: zero-shot, by a classifier made of images, or by its own head.",
            "evaluate runs/contrastive --on imagenet=val --on imagenet-r=imagenet-r --out metrics.json",
            "evaluate timm:resnet50@weights.safetensors --classifier head --on imagenet=val --out metrics.json",
        ),
        "compare": (
            "Compare evaluated models on the same images: differences, McNemar's test, and the classes that "
            "moved most.",
            "compare runs/a runs/b",
            "compare captions.json labels.json --across-protocols --out compare.csv --plot compare.svg",
        ),
        "ablate": (
            "Run one of the paper's five experiments or the one on domains, or what is missing of it; write a report.",
            "ablate size imagenet-captions=463622 --dry-run --out paper",
            "ablate all micro=cifar10_train.parquet --on cifar10_test.parquet --preset micro --out micro",
        ),
        "robustness": (
            "Measure how far models are above what ImageNet accuracy predicts under natural shifts.",
            "robustness published --plot figure.svg",
            "robustness results.csv --out robustness.csv",
        ),
        "trajectories": (
            "Measure every kept checkpoint of runs, and draw accuracy under shift against accuracy along training.",
            "trajectories runs/clip runs/labels --on imagenet=val --on imagenet-v2=v2 --out along",
            "trajectories micro --on clean=test.parquet --on blur=blur.parquet --out along-micro",
        ),
        "frequency": (
            "Relate the accuracy of each class to its training images, and to the training captions that name it.",
            "frequency runs/clip --out classes.csv --plot classes.svg",
            "frequency metrics.json --data imagenet-captions --caption title",
        ),
        "export-model": (
            "Write a trained model in the files of open_clip, timm or transformers, checked with that library's "
            "own loader.",
            "export-model runs/clip --to open_clip --out clip-for-open-clip",
            "export-model runs/supervised --to timm --out resnet50-for-timm",
        ),
    },
}
_MODULES = {
    "make": "demo build match extract-yfcc crawl clean package verify",
    "use": "filter export stats diff explain label-by-text publish",
    "measure": "score evaluate compare robustness trajectories frequency",
    "train": "train ablate export-model",
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names.split()}
COMMANDS = {
    name: Entry(about, _MODULE_OF[name], (first, second))
    for commands in SECTIONS.values()
    for name, (about, first, second) in commands.items()
}
