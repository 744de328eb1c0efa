"""Encoded images as tensors: decoding, crops, augmentation, and the input that a model expects."""

from __future__ import annotations

from imagenet_captions.images.image_spec import CLIP_224, IMAGENET_224, ImageSpec
from imagenet_captions.images.pixels.augment import RandAugment
from imagenet_captions.images.pixels.decoding import BrokenImage, decode
from imagenet_captions.images.pixels.normalize import normalise
from imagenet_captions.images.pixels.transforms import EvalTransform, TrainTransform, TwoViews

__all__ = [
    "CLIP_224",
    "IMAGENET_224",
    "BrokenImage",
    "EvalTransform",
    "ImageSpec",
    "RandAugment",
    "TrainTransform",
    "TwoViews",
    "decode",
    "normalise",
]
