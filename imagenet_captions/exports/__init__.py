"""Exports of a dataset in the formats of other tools."""

from __future__ import annotations

from imagenet_captions.exports.export import Exported, export
from imagenet_captions.exports.settings import TARGETS, ExportSettings

__all__ = ["TARGETS", "ExportSettings", "Exported", "export"]
