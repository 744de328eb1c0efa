"""CLIP's byte pairs as the files of a tokenizer of transformers, which open_clip's HFTokenizer reads too."""

from __future__ import annotations

from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

from imagenet_captions.errors import InputError
from imagenet_captions.models.config import TokenizerConfig
from imagenet_captions.models.tokenizing import byte_pairs
from imagenet_captions.storage.files import write_json, write_text

TOKENIZER_FILE = "tokenizer.json"
SETTINGS_FILE = "tokenizer_config.json"

# The words that open_clip's SimpleTokenizer cuts a text into before it looks for pairs.
_WORDS = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"


def write_tokenizer(config: TokenizerConfig, folder: Path) -> None:
    """Write a model's tokenizer for `AutoTokenizer.from_pretrained(folder)`.

    Texts are filled up with the end mark and not with 0, which is also "!"; what stands behind the end mark changes no
    feature. The cleaning of open_clip (ftfy, HTML entities) is not part of these files; open_clip applies it itself.
    """
    if config.kind == "clip":
        tokenizer, start, end = _byte_pair_tokenizer(config)
        special = {"bos_token": start, "eos_token": end, "pad_token": end, "unk_token": end}
    else:
        tokenizer = Tokenizer.from_str(config.json)
        special = {"pad_token": str(tokenizer.id_to_token(config.pad_id))}
    tokenizer.no_padding()
    tokenizer.no_truncation()
    write_text(folder / TOKENIZER_FILE, tokenizer.to_str())
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": config.context_length,
        "padding_side": str(config.options.get("padding_side", "right")),
        "clean_up_tokenization_spaces": False,
        **special,
    }
    write_json(folder / SETTINGS_FILE, settings)


def _byte_pair_tokenizer(config: TokenizerConfig) -> tuple[Tokenizer, str, str]:
    """Return CLIP's byte pairs as a `tokenizers.Tokenizer`, and its marks for the start and the end of a text."""
    unusual = sorted(set(config.options) - {"merges"})
    if unusual:
        raise InputError(
            f"the model's tokenizer has the options {', '.join(unusual)} of open_clip's SimpleTokenizer, which "
            "tokenizer.json cannot say; export to open_clip"
        )
    ours = byte_pairs(config)
    start, end = (ours.decoder[number] for number in ours.all_special_ids[:2])
    tokenizer = Tokenizer(
        models.BPE(vocab=ours.encoder, merges=list(ours.bpe_ranks), end_of_word_suffix="</w>", unk_token=end)
    )
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_WORDS), behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{start} $A {end}", special_tokens=[(mark, ours.encoder[mark]) for mark in (start, end)]
    )
    tokenizer.add_special_tokens([start, end])
    return tokenizer, start, end
