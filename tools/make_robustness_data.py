"""Make testbed_top1.csv and published_results.csv in imagenet_captions/data/.

    git clone https://github.com/modestyachts/imagenet-testbed
    git clone https://github.com/mlfoundations/open_clip
    python tools/make_robustness_data.py imagenet-testbed open_clip/docs/openclip_results.csv

Accuracies in percent. The figures of ALIGN and BASIC, which stand in papers only, are typed in below.
A `reference` is "file; row; column, column …", with a column for each accuracy of the row, in the order of the table.
"""

from __future__ import annotations

import argparse
import ast
import csv
import re
from pathlib import Path

DATA = Path(__file__).parent.parent / "imagenet_captions" / "data"

TESTBED_COLUMNS = {
    "imagenet": "val",
    "imagenet-v2": "imagenetv2-matched-frequency-format-val",
    "imagenet-r": "imagenet-r",
    "imagenet_on_r_classes": "val-on-imagenet-r-classes",
    "imagenet-sketch": "imagenet-sketch",
    "objectnet": "objectnet-1.0-beta",
    "imagenet_on_objectnet_classes": "val-on-objectnet-classes",
    "imagenet-a": "imagenet-a",
    "imagenet_on_a_classes": "val-on-imagenet-a-classes",
}
OPEN_CLIP_COLUMNS = {
    "imagenet": "ImageNet 1k",
    "imagenet-v2": "ImageNet v2",
    "imagenet-r": "ImageNet-R",
    "imagenet-sketch": "ImageNet Sketch",
    "objectnet": "ObjectNet",
    "imagenet-a": "ImageNet-A",
}
TESTBED_FILE = "modestyachts/imagenet-testbed@0170eec robustness_top1s.csv"
OPEN_CLIP_FILE = "mlfoundations/open_clip@89fb801 docs/openclip_results.csv"
TESTBED_OBJECTNET = "18514"  # of its 18,574 images; every ObjectNet accuracy of the testbed is a whole number of these
OPENAI, WEB = "400 million web pairs (OpenAI)", "open_clip docs/openclip_results.csv"
FROM_TESTBED = {"CLIP RN50": "resnet50_clip_zeroshot", "CLIP ViT-B/32": "vit_b_32_clip_zeroshot"}
FROM_OPEN_CLIP = {  # our name: (open_clip's model, its weights, family, training data)
    "CLIP RN101": ("RN101", "openai", "CLIP", OPENAI),
    "CLIP RN50x4": ("RN50x4", "openai", "CLIP", OPENAI),
    "CLIP RN50x16": ("RN50x16", "openai", "CLIP", OPENAI),
    "CLIP RN50x64": ("RN50x64", "openai", "CLIP", OPENAI),
    "CLIP ViT-B/16": ("ViT-B-16", "openai", "CLIP", OPENAI),
    "CLIP ViT-L/14": ("ViT-L-14", "openai", "CLIP", OPENAI),
    "CLIP ViT-L/14-336": ("ViT-L-14-336", "openai", "CLIP", OPENAI),
    # These weights were trained with QuickGELU; the rows without -quickgelu evaluate them with another activation.
    "OpenCLIP RN50 YFCC-15M": ("RN50-quickgelu", "yfcc15m", "CLIP, open data", "YFCC-15M"),
    "OpenCLIP RN101 YFCC-15M": ("RN101-quickgelu", "yfcc15m", "CLIP, open data", "YFCC-15M"),
    "OpenCLIP RN50 CC-12M": ("RN50-quickgelu", "cc12m", "CLIP, open data", "CC-12M"),
    "OpenCLIP ViT-B/32 LAION-400M": ("ViT-B-32-quickgelu", "laion400m_e32", "CLIP, open data", "LAION-400M"),
    "OpenCLIP ViT-B/16 LAION-2B": ("ViT-B-16", "laion2b_s34b_b88k", "CLIP, open data", "LAION-2B"),
    "OpenCLIP ViT-L/14 LAION-2B": ("ViT-L-14", "laion2b_s32b_b82k", "CLIP, open data", "LAION-2B"),
}
WISE_FT = "Wortsman et al. 2022 (arXiv 2109.01903)"
EVA = "Sun et al. 2024 (arXiv 2402.04252), Table 6b, as reported by Pham et al. 2021 (arXiv 2111.10050)"
WISE_FT_COLUMNS = "IN (reference), IN-V2, IN-R, IN-Sketch, ObjectNet, IN-A"
EVA_COLUMNS = "ImageNet-1K, ImageNet-V2, ImageNet-Ren., ImageNet-Ske., ObjectNet, ImageNet-Adv."
TYPED = [  # zero-shot; the columns of OPEN_CLIP_COLUMNS in their order, then the source and the reference
    ("ALIGN", "ALIGN", "1.8 billion web pairs", "76.4 70.1 92.1 67.9 67.2 75.9", f"{WISE_FT}, Table 9, alpha = 0",
     f"arXiv 2109.01903v3 Table 9; WiSE-FT end-to-end alpha=0.00; {WISE_FT_COLUMNS}"),
    ("BASIC-M", "BASIC", "6.6 billion web pairs", "81.4 74.1 90.6 67.4 73.5 66.7", f"{WISE_FT}, Table 11, alpha = 0",
     f"arXiv 2109.01903v3 Table 11; alpha=0.00; {WISE_FT_COLUMNS}"),
    ("BASIC-L", "BASIC", "6.6 billion web pairs", "85.7 80.6 95.7 76.1 82.3 85.6", EVA,
     f"arXiv 2402.04252 Table 6b; BASIC-L (reported); {EVA_COLUMNS}"),
]  # fmt: skip


def read_testbed(folder: Path) -> list[dict[str, str]]:
    """One row a model: its type and its accuracies under our names."""
    types = read_types(folder / "plotting" / "model_types.py")
    with (folder / "robustness_top1s.csv").open(encoding="utf-8", newline="") as opened:
        rows = [
            {
                "model": row["model"],
                "training": types.get(row["model"]) or epochs(row["model"]),
                "run": run(row["model"]),
            }
            | {ours: short(row[theirs]) for ours, theirs in TESTBED_COLUMNS.items()}
            for row in csv.DictReader(opened)
        ]
    return sorted(rows, key=lambda row: row["model"])


def short(cell: str) -> str:
    """Four decimals are a hundredth of one image."""
    return str(round(float(cell), 4)) if cell else ""


def run(model: str) -> str:
    """Return the training that a checkpoint belongs to; nothing for a model that is a training of its own."""
    return re.sub(r"_\d+_epochs$", "", model) if re.fullmatch(r"resnet(18_50k|101)_\d+_epochs", model) else ""


def epochs(model: str) -> str:
    """The type that model_types.py gives in a loop: networks stopped early, `resnet101_9_epochs`."""
    if not model.endswith("_epochs"):
        raise SystemExit(f"{model} has no type in plotting/model_types.py")
    return "low_accuracy_cnn"


def read_types(path: Path) -> dict[str, str]:
    """The entries of `model_types_map = {'alexnet': ModelTypes.STANDARD, ...}`, read without running the file."""
    for statement in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) == "model_types_map":
            table = statement.value
            assert isinstance(table, ast.Dict)
            pairs = zip(table.keys, table.values, strict=True)
            return {ast.literal_eval(key): ast.unparse(kind).split(".")[1].lower() for key, kind in pairs if key}
    raise SystemExit(f"{path} has no model_types_map")


def published(testbed: list[dict[str, str]], open_clip: Path) -> list[dict[str, str]]:
    """CLIP from the testbed (with same-class accuracies) and from open_clip, ALIGN and BASIC from papers."""
    by_name = {row["model"]: row for row in testbed}
    rows = [
        by_name[theirs]
        | {"model": ours, "family": "CLIP", "training": OPENAI, "source": f"imagenet-testbed, {theirs}"}
        | {"objectnet_n": TESTBED_OBJECTNET}
        | {"reference": f"{TESTBED_FILE}; model={theirs}; {', '.join(TESTBED_COLUMNS.values())}"}
        for ours, theirs in FROM_TESTBED.items()
    ]
    with open_clip.open(encoding="utf-8", newline="") as opened:
        results = {(row["name"], row["pretrained"]): row for row in csv.DictReader(opened)}
    for model, (name, weights, family, training) in FROM_OPEN_CLIP.items():
        percent = {
            ours: f"{100 * float(results[name, weights][theirs]):.2f}" for ours, theirs in OPEN_CLIP_COLUMNS.items()
        }
        texts = {"model": model, "family": family, "training": training, "source": f"{WEB}, {name} {weights}"}
        columns = ", ".join(OPEN_CLIP_COLUMNS.values())
        reference = f"{OPEN_CLIP_FILE}; name={name}, pretrained={weights}; {columns}"
        rows.append(texts | {"reference": reference} | percent)
    for model, family, training, figures, source, reference in TYPED:
        percent = dict(zip(OPEN_CLIP_COLUMNS, figures.split(), strict=True))
        texts = {"model": model, "family": family, "training": training, "source": source, "reference": reference}
        rows.append(texts | percent)
    return rows


def write(path: Path, columns: list[str], rows: list[dict[str, str]]) -> None:
    """Plain CSV, the columns in order."""
    with path.open("w", encoding="utf-8", newline="") as opened:
        writer = csv.DictWriter(opened, columns, lineterminator="\n", restval="")
        writer.writeheader()
        writer.writerows(rows)
    print(f"{len(rows)} models in {path}")


def main() -> None:
    """Read the two repositories and write the two tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("testbed", type=Path, help="clone of modestyachts/imagenet-testbed")
    parser.add_argument("open_clip", type=Path, help="openclip_results.csv of mlfoundations/open_clip")
    given = parser.parse_args()
    testbed = read_testbed(given.testbed)
    accuracies = list(TESTBED_COLUMNS)
    write(DATA / "testbed_top1.csv", ["model", "training", "run", *accuracies], testbed)
    rows = published(testbed, given.open_clip)
    at = accuracies.index("objectnet") + 1
    with_sizes = [*accuracies[:at], "objectnet_n", *accuracies[at:]]
    write(DATA / "published_results.csv", ["model", "family", "training", *with_sizes, "source", "reference"], rows)


if __name__ == "__main__":
    main()
