"""Texts to numbers, from what open_clip ships or from a tokenizer's own file: never from a hub."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from open_clip import SimpleTokenizer
from open_clip.tokenizer import get_clean_fn
from tokenizers import Tokenizer
from torch import Tensor

from imagenet_captions.errors import InputError
from imagenet_captions.models.config import TokenizerConfig


class JsonTokenizer:
    """Any tokenizer whose whole description is one `tokenizer.json`."""

    def __init__(self, config: TokenizerConfig) -> None:
        try:
            self._tokenizer = Tokenizer.from_str(config.json)
        except Exception as error:  # noqa: BLE001  the Rust side raises nothing more special than Exception
            raise InputError(f"the model's tokenizer.json cannot be read ({str(error)[:80]}); get it again") from None
        self._tokenizer.enable_truncation(config.context_length)
        self._tokenizer.enable_padding(length=config.context_length, pad_id=config.pad_id)
        clean = config.options.get("clean")
        self._clean: Callable[[str], str] = get_clean_fn(clean) if clean else str

    def __call__(self, texts: Sequence[str]) -> Tensor:
        """[n, context length], filled up with the tokenizer's own padding."""
        encoded = self._tokenizer.encode_batch([self._clean(text) for text in texts])
        return torch.tensor([entry.ids for entry in encoded], dtype=torch.long).reshape(len(encoded), -1)


class ClipTokenizer:
    """CLIP's byte pairs: start, the text's tokens, end, zeros; a text that is too long keeps its end mark."""

    def __init__(self, config: TokenizerConfig) -> None:
        self._tokenizer: Any = SimpleTokenizer(context_length=config.context_length, **config.options)

    def __call__(self, texts: Sequence[str]) -> Tensor:
        """[n, context length]."""
        tokens: Tensor = self._tokenizer(list(texts))
        return tokens


def build_tokenizer(config: TokenizerConfig) -> Callable[[Sequence[str]], Tensor]:
    """The tokenizer that a model's description names."""
    if config.kind == "clip":
        return ClipTokenizer(config)
    if config.kind == "json":
        return JsonTokenizer(config)
    raise InputError(f"a model's description names the tokenizer {config.kind[:40]!r}; known are clip and json")


def config_of_tokenizer(tokenizer: Any, context_length: int, options: dict[str, Any]) -> TokenizerConfig:
    """A tokenizer of transformers as a description that needs no files.

    Raises InputError for one that is not described by a tokenizer.json.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None or tokenizer.pad_token_id is None:
        raise InputError(
            f"the tokenizer {type(tokenizer).__name__} has no tokenizer.json with a padding token;"
            " save it as a fast tokenizer of transformers first"
        )
    return TokenizerConfig("json", context_length, int(tokenizer.pad_token_id), backend.to_str(), options)
