"""Format the help of the command line, the same with every version of typer; tools/make_reference.py uses it too."""

import inspect
import re
import shutil
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from imagenet_captions.cli.flags import Flag

PROGRAM = "imagenet-captions"
_WIDEST, _NAMES = 100, 28
_HELP = ("-h, --help", "Show this message and exit.")

EXAMPLES = {
    "demo": ("demo", "demo --out sample"),
    "build": (
        "build --release imagenet_captions.json --images ILSVRC2012_img_train --out imagenet-captions",
        "build --urls fall11_urls.txt --ids LOC_train_solution.csv --images ILSVRC2012_img_train --out rebuilt",
    ),
    "match": (
        "match --urls fall11_urls.txt --ids LOC_train_solution.csv",
        "match --urls fall11_urls.txt --classes all --out all.parquet",
    ),
    "extract-yfcc": (
        "extract-yfcc yfcc100m_dataset.bz2",
        "extract-yfcc yfcc100m_dataset.sql --matches matches.parquet --out yfcc.parquet",
    ),
    "crawl": ("crawl --limit 100", "crawl --key-file flickr.key --refresh 90"),
    "clean": (
        "clean --release imagenet_captions.json --out captions.parquet",
        'clean --matches matches.parquet --store photos.sqlite --caption "title tags"',
    ),
    "package": ("package --images ILSVRC2012_img_train --out imagenet-captions", "package --out texts"),
    "verify": ("verify imagenet-captions", "verify s3://bucket/imagenet-captions"),
    "filter": (
        "filter imagenet-captions --class dog --has title --out dogs",
        "filter imagenet-captions --class-list imagenette --per-class 100 --out-ids ids.txt",
    ),
    "export": (
        'export imagenet-captions --to webdataset --caption "title tags" --out shards',
        "export imagenet-captions --to open-clip-csv --images ILSVRC2012_img_train --out train.tsv",
    ),
    "stats": ("stats imagenet-captions", "stats imagenet-captions --html page.html --csv classes.csv"),
    "diff": ("diff imagenet-captions rebuilt", "diff imagenet-captions rebuilt --raw --out changes"),
    "explain": (
        "explain imagenet-captions n01440764_10026",
        "explain rebuilt n01440764_10026 --work rebuilt.work --json",
    ),
    "publish": (
        "publish texts my-group/imagenet-captions --dry-run",
        "publish imagenet-captions my-group/imagenet-captions --with-images --private",
    ),
    "label-by-text": (
        "label-by-text cc12m.tsv --out labeled.parquet",
        "label-by-text yfcc100m_dataset.bz2 --mode strict --case-sensitive --out labeled.parquet",
    ),
    "score": (
        "score imagenet-captions --model runs/contrastive --out scores.parquet",
        "score imagenet-captions --model open_clip:ViT-B-32@weights.safetensors --caption title --out titles.parquet",
    ),
    "train": (
        "train --show contrastive",
        "train imagenet-captions --objective contrastive --on imagenet=val --out runs/contrastive",
    ),
    "evaluate": (
        "evaluate runs/contrastive --on imagenet=val --on imagenet-r=imagenet-r --out metrics.json",
        "evaluate timm:resnet50@weights.safetensors --classifier head --on imagenet=val --out metrics.json",
    ),
    "compare": (
        "compare runs/a runs/b",
        "compare captions.json labels.json --across-protocols --out compare.csv --plot compare.svg",
    ),
    "ablate": (
        "ablate size imagenet-captions=463622 --dry-run --out paper",
        "ablate all micro=cifar10_train.parquet --on cifar10_test.parquet --preset micro --out micro",
    ),
    "robustness": ("robustness published --plot figure.svg", "robustness results.csv --out robustness.csv"),
    "trajectories": (
        "trajectories runs/clip runs/labels --on imagenet=val --on imagenet-v2=v2 --out along",
        "trajectories micro --on clean=test.parquet --on blur=blur.parquet --out along-micro",
    ),
    "frequency": (
        "frequency runs/clip --out classes.csv --plot classes.svg",
        "frequency metrics.json --data imagenet-captions --caption title",
    ),
    "export-model": (
        "export-model runs/clip --to open_clip --out clip-for-open-clip",
        "export-model runs/supervised --to timm --out resnet50-for-timm",
    ),
}

CAPTIONS = (
    ("title tags description", "Fields, joined in this order: title, tags, description, class_name."),
    ("title|description", "One of the fields, at random where both are filled."),
    ('title template="a photo of a {}"', "A sentence with the class's name, before the title."),
    ("title template=open_clip-80", "One of open_clip's 80 sentences, at random."),
    ("title names=wordnet", "Any of WordNet's names of the class, in place of the curated one."),
    ('title tags separator="; "', "The text between the fields."),
    ("title empty=keep", "Keep rows without any text."),
    ("title camera_names=keep", "Keep titles such as IMG_1234."),
    ("title max_words=20 max_chars=77", "Cut what is longer."),
    (
        "title tags captions=list",
        "A caption a field: a list in slim and webdataset, one by one, epoch by epoch, in train.",
    ),
    ("title|tags seed=1", "Choose otherwise; the same seed makes the same captions."),
)


def program_help(about: str, sections: Mapping[str, Sequence[tuple[str, str]]]) -> str:
    """Return the help of the program: what it is about, then what each command does, in sections."""
    parts = [f"Usage: {PROGRAM} COMMAND [OPTIONS]", _wrapped(about)]
    parts += [_table(title, rows) for title, rows in sections.items()]
    options = [
        ("--version", "Print the version and exit."),
        ("--install-completion", "Let this shell complete commands and flags."),
        ("--show-completion", "Print the completion, to install it by hand."),
        _HELP,
    ]
    parts.append(_table("Options", options))
    parts.append(_wrapped(f"`{PROGRAM} COMMAND --help` shows the options of a command, and examples."))
    return "\n\n".join(parts) + "\n"


def command_help(name: str, about: str, flags: "Sequence[Flag]") -> str:
    """Return the help of a command: how it is called, what it does, its arguments and flags, and examples."""
    arguments = [flag for flag in flags if flag.is_argument]
    parts = [f"Usage: {usage(name, flags)}", _wrapped(about)]
    if arguments:
        parts.append(_table("Arguments", [(flag.spelled, describe(flag)) for flag in arguments]))
    options = [(head(flag), describe(flag)) for flag in flags if not flag.is_argument]
    parts.append(_table("Options", [*options, _HELP]))
    if any(flag.spelled == "--caption" for flag in flags):
        parts.append(_table("Captions, as --caption takes them", CAPTIONS))
    parts.append("\n".join(["Examples:", *map(_example, EXAMPLES[name])]))
    return "\n\n".join(parts) + "\n"


def _example(text: str) -> str:
    """Format a command over as many lines as it needs, so that it can be pasted."""
    kept = re.sub(" (?!--)", "\xa0", f"{PROGRAM} {text}")  # a flag and its value stay on one line
    lines = textwrap.wrap(kept, _width() - 8, break_on_hyphens=False, break_long_words=False)
    return "  " + " \\\n      ".join(lines).replace("\xa0", " ")


def usage(name: str, flags: "Sequence[Flag]") -> str:
    """Return how a command is called: its name, its arguments, and that it takes options."""
    return " ".join([PROGRAM, name, *(_argument(flag) for flag in flags if flag.is_argument), "[OPTIONS]"])


def _argument(flag: "Flag") -> str:
    text = flag.spelled + ("..." if flag.many and not flag.spelled.endswith("...") else "")
    return text if flag.required else f"[{text}]"


def head(flag: "Flag") -> str:
    """Return a flag as it is typed, with a name for its value."""
    return "/".join(flag.names) if flag.kind is bool else f"{flag.spelled} {flag.value_name}"


def describe(flag: "Flag") -> str:
    """Return the help of a flag, with whether it is required, or else its default."""
    text = " ".join((flag.declared.help or "").split())
    if flag.required:
        return f"{text}  [required]"
    default = flag.default.value if isinstance(flag.default, Enum) else flag.default
    if default is None or flag.kind is bool:
        return text
    return f"{text}  [default: {default}]"


def _width() -> int:
    return min(shutil.get_terminal_size().columns, _WIDEST)


def _wrapped(text: str) -> str:
    return textwrap.fill(
        " ".join(inspect.cleandoc(text).split()), _width(), initial_indent="  ", subsequent_indent="  "
    )


def _table(title: str, rows: Iterable[tuple[str, str]]) -> str:
    """Format rows of a name and a text, wrapped beside the name, or below a long one."""
    rows = list(rows)
    column = min(max(len(name) for name, _ in rows), _NAMES) + 4
    lines = [f"{title}:"]
    for name, text in rows:
        wrapped = textwrap.wrap(text, _width() - column, break_on_hyphens=False) or [""]
        if len(name) > _NAMES:
            lines.append(f"  {name}")
        else:
            lines.append(f"  {name:<{column - 2}}{wrapped.pop(0)}".rstrip())
        lines += [" " * column + each for each in wrapped]
    return "\n".join(lines)
