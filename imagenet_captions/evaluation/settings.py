"""The settings of an evaluation; they are checked before PyTorch is loaded, which takes seconds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from imagenet_captions.errors import InputError, quoted, shortened
from imagenet_captions.evaluation.robustness.shifts import IMAGENET, SHIFTS

if TYPE_CHECKING:
    import torch

KINDS = ("zero-shot", "linear-probe", "k-shot", "prototypes", "head")
_TRAINED = ("linear-probe", "k-shot", "prototypes")


@dataclass(frozen=True)
class ClassifierSettings:
    """The classifier: `prompts` and `names` for zero-shot, `train` for those made from images, `k` for k-shot.

    A setting that the classifier has no use for is refused, so that nobody believes it had an effect.
    """

    kind: str = "zero-shot"
    prompts: str | None = None
    names: str | None = None
    train: Path | None = None
    k: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise InputError(f"the classifier must be one of {', '.join(KINDS)}, not {quoted(self.kind)}")
        if self.kind in _TRAINED and self.train is None:
            raise InputError(f"the classifier {self.kind} is made from labeled images; give them as `train`")
        if self.kind == "k-shot" and (self.k is None or self.k < 1):
            raise InputError("the classifier k-shot needs the number of images a class; give `k` N, 1 or more")
        useless = {
            "prompts": self.prompts is not None and self.kind != "zero-shot",
            "names": self.names is not None and self.kind != "zero-shot",
            "train": self.train is not None and self.kind not in _TRAINED,
            "k": self.k is not None and self.kind != "k-shot",
        }
        for name, given in useless.items():
            if given:
                raise InputError(f"`{name}` has no effect on the classifier {self.kind}; leave it out")


@dataclass(frozen=True)
class Reading:
    """How images are read: the batch size, the number of worker processes (0 reads in this one), and the device.

    The device defaults to the first GPU, or to the CPU if there is none. `threads` are those that compute on a CPU;
    without it, models of small images get one.
    """

    batch_size: int = 256
    workers: int = 0
    device: str | None = None
    threads: int | None = None

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise InputError(f"`batch_size` must be at least 1, not {self.batch_size}")
        if self.workers < 0:
            raise InputError(f"`workers` must be at least 0, not {self.workers}")
        if self.threads is not None and self.threads < 1:
            raise InputError(f"`threads` must be at least 1, not {self.threads}")

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


@dataclass(frozen=True)
class EvaluateSettings:
    """The model (anything that `load_model` reads), the test sets by name, and the classifier.

    `labels` says where the labels of flat ImageNet validation images are, if not beside them. `without` is a list of
    test images to leave out.
    """

    model: str
    test_sets: tuple[tuple[str, Path], ...]
    classifier: ClassifierSettings = field(default_factory=ClassifierSettings)
    reading: Reading = field(default_factory=Reading)
    labels: Path | None = None
    without: Path | None = None

    def files(self) -> list[Path]:
        """Return the files and folders that the evaluation reads on this machine."""
        classifier = self.classifier
        texts = [self.model, self.model.partition("@")[2], classifier.prompts, classifier.names]
        paths = [path for _, path in self.test_sets] + [Path(text) for text in texts if text]
        return [*paths, *(path for path in (classifier.train, self.labels, self.without) if path is not None)]

    def __post_init__(self) -> None:
        check_test_sets(self.test_sets)
        if self.labels is not None and IMAGENET not in dict(self.test_sets):
            raise InputError(
                "`labels` are those of ImageNet's validation images; give `test_sets` imagenet=PATH with them"
            )


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
