"""Images to package, in the forms in which people keep ImageNet: found by image id or photo id, read in place."""

from __future__ import annotations

from imagenet_captions.images.sources.index import ImageIndex
from imagenet_captions.images.sources.opening import open_images
from imagenet_captions.images.sources.source import ByteRange, Found, ImageQuery, ImageSource

__all__ = ["ByteRange", "Found", "ImageIndex", "ImageQuery", "ImageSource", "open_images"]
