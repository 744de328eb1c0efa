"""Test sets in the layouts in which people keep them."""

from __future__ import annotations

from imagenet_captions.evaluation.testsets.known import KNOWN, KnownSet
from imagenet_captions.evaluation.testsets.opening import open_test_set
from imagenet_captions.evaluation.testsets.test_set import Gaps, TestSet

__all__ = ["KNOWN", "Gaps", "KnownSet", "TestSet", "open_test_set"]
