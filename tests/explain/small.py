"""Tiny models of transformers with random weights and a tokenizer of their own, written to a directory."""

from __future__ import annotations

from pathlib import Path

import torch
import transformers as hf
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

SENTENCE = "the animal did not cross the street because it was too tired ."
WORDS = [*SENTENCE.split(), "un", "##believ", "##able", "我", "爱", "北", "京", ",", "。", "x"]
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]


def wordpieces(place: Path) -> None:
    """A WordPiece tokenizer with [CLS] and [SEP]."""
    vocabulary = {word: index for index, word in enumerate(dict.fromkeys([*SPECIAL, *WORDS]))}
    made = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    made.normalizer = normalizers.BertNormalizer(lowercase=True)
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    ends = [(name, vocabulary[name]) for name in ("[CLS]", "[SEP]")]
    made.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=ends)
    names = {"unk_token": "[UNK]", "pad_token": "[PAD]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    hf.PreTrainedTokenizerFast(tokenizer_object=made, model_max_length=64, **names).save_pretrained(place)


SHAPE = {
    **{"vocab_size": 40, "hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4},
    **{"intermediate_size": 64, "max_position_embeddings": 64},
}
GROUPED = {**SHAPE, "num_key_value_heads": 2}
NARROW = {**GROUPED, "head_dim": 8, "sliding_window": 4}

MODELS = {
    "bert": lambda: hf.BertModel(hf.BertConfig(**SHAPE)),
    "llama": lambda: hf.LlamaModel(hf.LlamaConfig(**GROUPED)),
    "albert": lambda: hf.AlbertModel(hf.AlbertConfig(**SHAPE, embedding_size=16)),
    "gemma2": lambda: hf.Gemma2Model(hf.Gemma2Config(**NARROW, attn_logit_softcapping=5.0)),
    "gpt_oss": lambda: hf.GptOssModel(hf.GptOssConfig(**NARROW, num_local_experts=2, num_experts_per_tok=1)),
    "bloom": lambda: hf.BloomModel(hf.BloomConfig(vocab_size=40, hidden_size=32, n_layer=2, n_head=4)),
    "t5": lambda: hf.T5Model(hf.T5Config(vocab_size=40, d_model=32, d_kv=8, d_ff=64, num_layers=2, num_heads=4)),
}


def write(place: Path, kind: str = "bert") -> Path:
    """A model whose scores are far from flat, with its tokenizer."""
    torch.manual_seed(0)
    model = MODELS[kind]()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "sink" in name:
                weight.fill_(4)
            elif "norm" not in name.lower():
                weight.normal_(0, 0.5)
    model.save_pretrained(place)
    wordpieces(place)
    return place
