"""Tokenizers that need no hub, and their files for transformers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch
from open_clip import SimpleTokenizer
from open_clip.tokenizer import get_clean_fn
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from torch import Tensor
from transformers import AutoTokenizer

from imagenet_captions.errors import InputError, quoted, shortened
from imagenet_captions.models.config import TokenizerConfig
from imagenet_captions.storage.faults import reaching
from imagenet_captions.storage.files import write_json, write_text

# What open_clip's tokenizer of byte pairs may be told; it would also read any file as its table.
_OPTIONS = frozenset({"clean", "reduction_mask", "additional_special_tokens", "context_length"})


class JsonTokenizer:
    """A tokenizer that one `tokenizer.json` describes completely."""

    def __init__(self, config: TokenizerConfig) -> None:
        try:
            self._tokenizer, self._whole = (Tokenizer.from_str(config.json) for _ in range(2))
        except Exception as error:  # noqa: BLE001  the Rust side raises nothing more special than Exception
            raise InputError(f"the model's tokenizer.json cannot be read ({shortened(error)}); get it again") from None
        self._whole.no_truncation()
        self._whole.no_padding()
        self._tokenizer.enable_truncation(config.context_length)
        side = str(config.options.get("padding_side", "right"))
        self._tokenizer.enable_padding(direction=side, length=config.context_length, pad_id=config.pad_id)
        clean = config.options.get("clean")
        self._clean: Callable[[str], str] = get_clean_fn(clean) if clean else str
        self._stripped: int | None = config.options.get("stripped_id")

    def __call__(self, texts: Sequence[str]) -> Tensor:
        """Return the tokens of texts, [n, context length], with the tokenizer's own padding."""
        encoded = self._tokenizer.encode_batch([self._clean(text) for text in texts])
        tokens = torch.tensor([entry.ids for entry in encoded], dtype=torch.long).reshape(len(encoded), -1)
        return tokens if self._stripped is None else tokens.masked_fill(tokens == self._stripped, 0)

    def lengths(self, texts: Sequence[str]) -> list[int]:
        """Return the number of tokens of each whole text, its start and end included; nothing is cut."""
        encoded = self._whole.encode_batch([self._clean(text) for text in texts])
        return [len(entry.ids) for entry in encoded]


class ClipTokenizer:
    """CLIP's byte pairs: start, the text's tokens, end, zeros; a truncated text keeps its end token.

    The option `merges` takes so many of the most frequent pairs alone. Any text can still be written with them, in
    more tokens; a small model has no 49,408 tokens to learn, nor the time to update them all in every step.
    """

    def __init__(self, config: TokenizerConfig) -> None:
        self._context_length = config.context_length
        self._tokenizer = byte_pairs(tuple(sorted(config.options.items())))

    def __call__(self, texts: Sequence[str]) -> Tensor:
        """Return the tokens of texts, [n, context length]."""
        tokens: Tensor = self._tokenizer(list(texts), context_length=self._context_length)
        return tokens

    def lengths(self, texts: Sequence[str]) -> list[int]:
        """Return the number of tokens of each whole text, its start and end included; nothing is cut."""
        return [len(self._tokenizer.encode(text)) + 2 for text in texts]


def build_tokenizer(config: TokenizerConfig) -> ClipTokenizer | JsonTokenizer:
    """Build the tokenizer of a configuration."""
    if config.kind == "clip":
        return ClipTokenizer(config)
    if config.kind == "json":
        return JsonTokenizer(config)
    raise InputError(f"a model's description names the tokenizer {quoted(config.kind)}; known are clip and json")


@cache  # reading the table takes a tenth of a second
def byte_pairs(options: tuple[tuple[str, Any], ...]) -> Any:
    """Return open_clip's tokenizer with the sorted options of a model's description.

    `merges` reduces it to the letters, the first merges, and the special tokens, which come last.
    """
    given = dict(options)
    merges = given.pop("merges", None)
    others = sorted(set(given) - _OPTIONS)
    if others:
        raise InputError(f"the model's tokenizer has the option {quoted(others[0])}, which is not read here")
    tokenizer: Any = SimpleTokenizer(**given)
    if merges is None:
        return tokenizer
    letters = list(tokenizer.encoder)[: 2 * len(tokenizer.byte_encoder)]
    kept = list(tokenizer.bpe_ranks)[:merges]
    special = [tokenizer.decoder[number] for number in tokenizer.all_special_ids]
    tokens = [*letters, *("".join(pair) for pair in kept), *special]
    tokenizer.encoder = {token: number for number, token in enumerate(tokens)}
    tokenizer.decoder = dict(enumerate(tokens))
    tokenizer.bpe_ranks = {pair: rank for rank, pair in enumerate(kept)}
    tokenizer.vocab_size = len(tokens)
    tokenizer.all_special_ids = [tokenizer.encoder[token] for token in special]
    tokenizer.sot_token_id, tokenizer.eot_token_id = tokenizer.all_special_ids[:2]
    return tokenizer


def tokenizer_of(source: str, context_length: int, options: Mapping[str, Any]) -> TokenizerConfig:
    """Return the configuration of a tokenizer of transformers, from a folder or the hub, that needs no files."""
    with reaching(f"the tokenizer of {source}", Path(source).is_dir()):
        tokenizer: Any = AutoTokenizer.from_pretrained(source, trust_remote_code=False)
    backend, marks = getattr(tokenizer, "backend_tokenizer", None), set(tokenizer.all_special_tokens)
    # Where there is none, transformers makes one up of the special tokens.
    if backend is None or tokenizer.pad_token_id is None or set(tokenizer.get_vocab()) <= marks:
        raise InputError(f"{source} has no tokenizer with a padding token; put its tokenizer.json there")
    kept: dict[str, Any] = {"padding_side": tokenizer.padding_side}
    if options.get("clean"):
        kept["clean"] = options["clean"]
    if options.get("strip_end"):
        kept["stripped_id"] = int(tokenizer.sep_token_id)
    return TokenizerConfig("json", context_length, int(tokenizer.pad_token_id), backend.to_str(), kept)


# The words that open_clip's SimpleTokenizer cuts a text into before it looks for pairs.
_WORDS = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"


def write_tokenizer(config: TokenizerConfig, folder: Path) -> None:
    """Write a model's tokenizer for `AutoTokenizer.from_pretrained(folder)`, without open_clip's cleaning of texts.

    Texts are filled up with the end mark and not with 0, which is also "!"; what stands behind it changes no feature.
    """
    if config.kind == "clip":
        tokenizer, start, end = _byte_pair_tokenizer(config)
        special = {"bos_token": start, "eos_token": end, "pad_token": end, "unk_token": end}
    else:
        tokenizer = Tokenizer.from_str(config.json)
        special = {"pad_token": str(tokenizer.id_to_token(config.pad_id))}
    tokenizer.no_padding()
    tokenizer.no_truncation()
    write_text(folder / "tokenizer.json", tokenizer.to_str())
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": config.context_length,
        "padding_side": str(config.options.get("padding_side", "right")),
        "clean_up_tokenization_spaces": False,
        **special,
    }
    write_json(folder / "tokenizer_config.json", settings)


def _byte_pair_tokenizer(config: TokenizerConfig) -> tuple[Tokenizer, str, str]:
    """Return CLIP's byte pairs as a `tokenizers.Tokenizer`, and its marks for the start and the end of a text."""
    unusual = sorted(set(config.options) - {"merges"})
    if unusual:
        raise InputError(
            f"the model's tokenizer has the options {', '.join(unusual)} of open_clip's SimpleTokenizer, which "
            "tokenizer.json cannot say; export to open_clip"
        )
    ours = byte_pairs(tuple(config.options.items()))
    start, end = (ours.decoder[number] for number in ours.all_special_ids[:2])
    tokenizer = Tokenizer(
        models.BPE(vocab=ours.encoder, merges=list(ours.bpe_ranks), end_of_word_suffix="</w>", unk_token=end)
    )
    one_blank = normalizers.Replace(Regex(r"\s+"), " ")
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFC(), one_blank, normalizers.Lowercase()])
    words = pre_tokenizers.Split(Regex(_WORDS), behavior="removed", invert=True)
    letters = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([words, letters])
    tokenizer.decoder = decoders.ByteLevel()
    marks = [(mark, ours.encoder[mark]) for mark in (start, end)]
    tokenizer.post_processor = processors.TemplateProcessing(single=f"{start} $A {end}", special_tokens=marks)
    tokenizer.add_special_tokens([start, end])
    return tokenizer, start, end
