"""The settings of evaluate, score, robustness and trajectories; they are checked before PyTorch is loaded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imagenet_captions.captions.caption_template import CaptionTemplate
from imagenet_captions.engines.local import WORKERS
from imagenet_captions.errors import InputError, quoted, shortened
from imagenet_captions.evaluation.robustness.tables import BASELINES, IMAGENET, SHIFTS
from imagenet_captions.options import REQUIRED, argument, check, nested, option, refuse
from imagenet_captions.storage.places import local_place

if TYPE_CHECKING:
    import torch

    from imagenet_captions.dataset.shards import Manifest


KINDS = ("zero-shot", "linear-probe", "k-shot", "prototypes", "head")
_TRAINED = ("linear-probe", "k-shot", "prototypes")
# The classifiers that use a setting; on another one it is refused, so that nobody believes it had an effect.
_USED_BY = {"prompts": ("zero-shot",), "names": ("zero-shot",), "train": _TRAINED, "k": ("k-shot",)}
LABELS = "Labels of flat ImageNet validation images: the devkit, LOC_val_solution.csv or val.txt."


@dataclass(frozen=True)
class ClassifierSettings:
    """How images are classified."""

    kind: str = option(
        "By class names, by labeled images (--train), or the model's own head.",
        "zero-shot",
        flag="--classifier",
        choices=KINDS,
    )
    prompts: str | None = option("Zero-shot: none, one, 80, or a file of sentences with {} for the name. Default: 80.")
    names: str | None = option("Zero-shot: curated, wordnet, or a file with a line a class. Default: curated.")
    train: Path | None = option("Labeled images for linear-probe, k-shot and prototypes, in any layout.")
    k: int | None = option("k-shot: images a class.", least=1)
    seed: int = option("Seed that chooses the k images, or the held-out ones.", 0)

    def __post_init__(self) -> None:
        check(self)
        if self.kind in _TRAINED and self.train is None:
            raise InputError(f"the classifier {self.kind} is made from labeled images; give them as `train`")
        if self.kind == "k-shot" and self.k is None:
            raise InputError("the classifier k-shot needs the number of images a class; give `k` N, 1 or more")
        for name, kinds in _USED_BY.items():
            if getattr(self, name) is not None and self.kind not in kinds:
                raise InputError(f"`{name}` has no effect on the classifier {self.kind}; leave it out")


@dataclass(frozen=True)
class Reading:
    """How images are read: the batch size, the number of worker processes (1 reads in this one), and the device."""

    batch_size: int = option("Images at once.", 256, least=1)
    workers: int | None = option(WORKERS, least=1)
    device: str | None = option("cpu, cuda or cuda:N. Default: a GPU if there is one.")
    threads: int | None = option("Threads that compute on a CPU. Default: 1 for images up to 64 pixels.", least=1)

    def __post_init__(self) -> None:
        check(self)

    def torch_device(self) -> torch.device:
        """Return the device; raises InputError if this machine does not have it."""
        import torch

        name = self.device or ("cuda" if torch.cuda.is_available() else "cpu")
        try:
            torch.empty(1, device=name)
        except (RuntimeError, AssertionError) as error:
            reason = str(error).split("\n", 1)[0][:100]
            raise InputError(f"`device` {quoted(name)} cannot be used ({reason}); give cpu, cuda or cuda:N") from None
        return torch.device(name)


def parse_test_sets(texts: Sequence[str]) -> tuple[tuple[str, Path], ...]:
    """Return the names and paths of test sets, each given as NAME=PATH.

    >>> parse_test_sets(["imagenet=val"])
    (('imagenet', PosixPath('val')),)
    """
    found = []
    for text in texts:
        name, equals, path = text.partition("=")
        if not (name and equals and path):
            raise InputError(f"`test_sets` {quoted(text)} names no test set; give NAME=PATH, such as imagenet=val")
        found.append((name, local_place(path).expanduser()))  # a shell leaves ~ as it is behind a name and =
    return tuple(found)


@dataclass(frozen=True)
class EvaluateSettings:
    """The model (anything that `load_model` reads), the test sets by name, and the classifier."""

    model: str = argument(
        "A run or model folder of ours, a .ckpt, open_clip:NAME[@weights], timm:NAME[@weights], or transformers:FOLDER."
    )
    test_sets: tuple[tuple[str, Path], ...] = option(
        "A test set: imagenet, imagenet-v2, imagenet-r, imagenet-a, imagenet-sketch or objectnet, as folders, a tar or "
        "Parquet; any other name is a set with classes of its own. May be given often.",
        REQUIRED,
        flag="--on",
        metavar="NAME=PATH",
        reads=parse_test_sets,
    )
    classifier: ClassifierSettings = nested(ClassifierSettings)
    reading: Reading = nested(Reading)
    labels: Path | None = option(LABELS)
    without: Path | None = option(
        "Leave out these test images: a text file with an id a line, or a CSV with a column id. The result with them "
        "stands beside."
    )

    def files(self) -> list[Path]:
        """Return the files and folders that the evaluation reads on this machine."""
        classifier = self.classifier
        texts = [self.model, self.model.partition("@")[2], classifier.prompts, classifier.names]
        paths = [path for _, path in self.test_sets] + [Path(text) for text in texts if text]
        return [*paths, *(path for path in (classifier.train, self.labels, self.without) if path is not None)]

    def __post_init__(self) -> None:
        check(self)
        check_test_sets(self.test_sets)
        if self.labels is not None and IMAGENET not in dict(self.test_sets):
            raise InputError("`labels` are those of ImageNet's validation images; give `test_sets` imagenet=PATH too")


def check_test_sets(test_sets: Sequence[tuple[str, Path]]) -> None:
    """Refuse an empty list of test sets, a name that is used twice, and a name that metrics.json reserves."""
    if not test_sets:
        raise InputError("no test set was given; give `test_sets` NAME=PATH")
    names = [name for name, _ in test_sets]
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"`test_sets` {shortened(name, 40)} is given twice; give each test set a name of its own")
        if name in {shift.same_classes for shift in SHIFTS}:
            raise InputError(
                f"`test_sets` {name} is what ImageNet's accuracy on a part of its classes is called; rename it"
            )


PART_ROWS = 1024


@dataclass(frozen=True)
class ScoreSettings:
    """The model (anything that `load_model` reads with a text tower), the captions, and what is written beside scores.

    Without `caption`, the captions are those of the dataset. `test_sets` are compared with the images.
    """

    model: str = option(
        "A model with a text tower, as `evaluate` takes it: a run or model folder, a .ckpt, open_clip:NAME[@weights], "
        "or transformers:FOLDER.",
        REQUIRED,
    )
    caption: CaptionTemplate | None = option(
        'What makes the caption: fields and settings such as template="a photo of a {}". Default: the captions of the '
        "dataset."
    )
    embeddings: bool = option("Write the embeddings of images and captions too, as 16-bit numbers.", False)
    test_sets: tuple[tuple[str, Path], ...] = option(
        "A test set, as `evaluate --on` takes it: adds the highest similarity to one of its images, as the column "
        "NAME, and that image, as NAME_image. May be given often.",
        (),
        flag="--against",
        metavar="NAME=PATH",
        reads=parse_test_sets,
    )
    reading: Reading = nested(Reading)

    def __post_init__(self) -> None:
        check(self)
        if self.test_sets:
            check_test_sets(self.test_sets)
        names = dict(self.test_sets).keys()
        columns = {"image_id", "similarity", "tokens", "cut", "image_embedding", "text_embedding"}
        if taken := (columns | {f"{name}_image" for name in names}) & names:
            raise InputError(f"`test_sets` {taken.pop()} is another column of the scores; rename it")

    @property
    def part_rows(self) -> int:
        """The number of rows that are scored before they are written; a killed run loses no more than these."""
        return max(PART_ROWS, self.reading.batch_size)

    def template_for(self, manifest: Manifest) -> CaptionTemplate | None:
        """Return the template for a dataset's texts; published texts keep camera names in titles."""
        if self.caption is None or not manifest.as_published:
            return self.caption
        return self.caption.with_camera_names()

    def recorded(self, manifest: Manifest) -> dict[str, Any]:
        """Return the settings that decide the result, for the file's metadata."""
        template = self.template_for(manifest)
        caption = manifest.settings.get("caption") if template is None else str(template)
        stored = {"caption": caption, "caption_stored": template is None}
        against = {"against": {name: str(path) for name, path in self.test_sets}} if self.test_sets else {}
        return {"model": self.model, **stored, "embeddings": self.embeddings, **against}

    def files(self) -> list[Path]:
        """Return the files of the model and the test sets on this machine."""
        model = [Path(text) for text in (self.model, self.model.partition("@")[2]) if text]
        return [*model, *(path for _, path in self.test_sets)]


PUBLISHED = "published"


@dataclass(frozen=True)
class RobustnessSettings:
    """A table of accuracies, the baseline that it is measured against, and the files to write."""

    results: Path = argument(
        "A table with model, imagenet and any of imagenet-v2, imagenet-r, imagenet-sketch, objectnet, imagenet-a; or "
        "`published`, for CLIP, ALIGN and BASIC as they were published.",
        metavar="RESULTS.csv",
    )
    baseline: str | None = option(
        "auto: one curve for models of any accuracy. standard: the published line over models of at least 55 %. "
        "imagenet-only: the line over all that saw ImageNet only. Default: auto.",
        choices=tuple(BASELINES),
    )
    baseline_from: Path | None = option(
        "Fit the baseline over the models of this table instead.", metavar="RESULTS.csv"
    )
    id_sets: tuple[str, ...] = option(
        "Measure against several in-distribution test sets too, by one linear fit over the models of the table, or of "
        "--baseline-from: `--id imagenet --id yfcc`.",
        (),
        flag="--id",
        metavar="COLUMN",
    )
    units: str | None = option("Unit of the accuracies. Default: detected.", choices=("percent", "fraction"))
    all_classes: bool = option("Compare R, A and ObjectNet on all 1000 classes for every model.", False)
    out: Path | None = option("Write the table with effective robustness: ER.csv.")
    plot: Path | None = option("Draw the figure: a .png or .svg file.")
    with_published: bool = option(
        "Draw CLIP, ALIGN and BASIC beside your models, or leave them out.",
        True,
        flag="--with-published/--without-published",
        needs="plot",
    )

    def __post_init__(self) -> None:
        check(self)
        if self.baseline is not None and self.baseline_from is not None:
            raise InputError("`baseline` names models of the testbed and `baseline_from` your own; give one of the two")
        for name in self.id_sets:
            if self.id_sets.count(name) > 1:
                raise InputError(f"`id_sets` {quoted(name)} is given twice; give each test set once")
            if any(name in (shift.column, shift.same_classes) for shift in SHIFTS):
                raise InputError(f"`id_sets` {quoted(name)} is not in-distribution; give {IMAGENET} and sets of yours")
        if len(self.id_sets) == 1:
            raise InputError(f"`id_sets` takes two or more test sets; give {IMAGENET} and another one")
        if self.shipped:
            refuse(self, ("units", "with_published"), "for the published results")

    @property
    def shipped(self) -> bool:
        """Whether the table is the one in the package."""
        return str(self.results) == PUBLISHED

    def outputs(self) -> list[Path]:
        """Return the files that are written."""
        return [path for path in (self.out, self.plot) if path is not None]


@dataclass(frozen=True)
class TrajectorySettings:
    """Runs or ablations, test sets by name with the in-distribution one first, and the folder to write."""

    runs: tuple[Path, ...] = argument("Runs that `train --keep-every` made, or an ablation's folder.", metavar="RUN...")
    test_sets: tuple[tuple[str, Path], ...] = option(
        "A test set, as for `evaluate`: the in-distribution one first, then one or more shifts.",
        REQUIRED,
        flag="--on",
        metavar="NAME=PATH",
        reads=parse_test_sets,
    )
    out: Path = option("Metrics, trajectories.csv and .svg; the same folder again goes on.", REQUIRED)
    prompts: str | None = option(
        "Prompts of contrastive runs: none, one, 80, or a file of sentences with {} for the name. Default: those of "
        "the ablation, else 80."
    )
    labels: Path | None = option(LABELS)
    reading: Reading = nested(Reading)

    def __post_init__(self) -> None:
        check(self)
        EvaluateSettings(str(self.out), self.test_sets, labels=self.labels)  # refuses wrong test sets
        if len(self.test_sets) < 2:
            raise InputError("a trajectory needs `test_sets` twice or more: the in-distribution one, then the shifts")
