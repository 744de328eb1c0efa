"""Published numbers that a run can be held against, and throughputs that others reported, each with its source."""

from __future__ import annotations

from dataclasses import dataclass

_OPEN_CLIP = "open_clip's README"
_RESULTS = "open_clip docs/openclip_results.csv at 89fb801"
_FANG = "Fang et al. 2022 (arXiv 2205.01397)"


@dataclass(frozen=True)
class Published:
    """One accuracy in percent, as somebody published it for a ResNet-50 trained in the way of `arm` on `data`."""

    data: str
    arm: str
    test_set: str
    top1: float
    source: str

    def __str__(self) -> str:
        return f"{self.test_set} {self.top1:g} % ({self.source})"


# Arms by the names that `factors` gives them; a run on a sample of the data has no number to be held against.
PUBLISHED = (
    Published("yfcc15m", "clip", "imagenet", 32.7, _OPEN_CLIP),
    Published("yfcc15m", "clip", "imagenet", 31.3, f"OpenAI, quoted by {_OPEN_CLIP}"),
    Published("yfcc15m", "clip", "imagenet-v2", 28.06, _RESULTS),
    Published("yfcc15m", "clip", "imagenet-r", 22.31, _RESULTS),
    Published("yfcc15m", "clip", "imagenet-sketch", 7.29, _RESULTS),
    Published("yfcc15m", "clip", "objectnet", 18.24, _RESULTS),
    Published("yfcc15m", "noclip", "imagenet", 35.7, _FANG),
    Published("cc12m", "clip", "imagenet", 35.91, _RESULTS),
    Published("cc12m", "clip", "imagenet-v2", 30.65, _RESULTS),
    Published("cc12m", "clip", "imagenet-r", 44.66, _RESULTS),
    Published("cc12m", "clip", "imagenet-sketch", 23.54, _RESULTS),
    Published("cc12m", "clip", "objectnet", 23.26, _RESULTS),
    Published("imagenet-captions", "supervised", "objectnet", 18.7, _FANG),
)

LABELLED = "imagenet-captions"  # whose images have ImageNet's labels; the others have texts alone

# Names that people give to the sets above.
_ALSO = {
    "yfcc": "yfcc15m",
    "yfcc-15m": "yfcc15m",
    "cc-12m": "cc12m",
    "imagenet_captions": "imagenet-captions",
    "incaps": "imagenet-captions",
}


def common_name(data: str) -> str:
    """The name under which a data set's numbers stand here.

    >>> common_name("YFCC"), common_name("mine")
    ('yfcc15m', 'mine')
    """
    return _ALSO.get(data.lower(), data.lower())


def published_for(data: str, arm: str, model: str) -> tuple[Published, ...]:
    """What was published for an arm on all of a data set, with the paper's model; nothing for any other model.

    >>> [str(found) for found in published_for("YFCC15M", "noclip", "RN50")]
    ['imagenet 35.7 % (Fang et al. 2022 (arXiv 2205.01397))']
    >>> published_for("yfcc15m", "clip", "micro")
    ()
    """
    name = common_name(data)
    if model != "RN50":
        return ()
    return tuple(row for row in PUBLISHED if row.data == name and row.arm == arm)


@dataclass(frozen=True)
class Throughput:
    """Images that somebody trained on in a second, on one GPU of the kind named."""

    objective: str
    gpu: str
    images_per_second: float
    source: str


# For a ResNet-50 at 224 pixels; a rough guide, since no two machines feed a GPU alike.
THROUGHPUTS = (
    Throughput(
        "contrastive",
        "V100",
        2_905_954 * 30 / (8 * 12 * 3600),  # pairs of CC3M (open_clip issue 930) x epochs / (GPUs x seconds)
        "open_clip issue 15: 30 epochs of CC3M on 8 V100 in about 12 hours",
    ),
    Throughput(
        "supervised",
        "A100",
        2600,
        "timm issue 1491: a ResNet-50 with mixed precision in channels-last form",
    ),
)


def throughput_of(objective: str, model: str) -> Throughput | None:
    """The throughput that was reported for an objective with a ResNet-50, if one was.

    >>> round(throughput_of("contrastive", "RN50").images_per_second)
    252
    """
    if model != "RN50":
        return None
    return next((found for found in THROUGHPUTS if found.objective == objective), None)
