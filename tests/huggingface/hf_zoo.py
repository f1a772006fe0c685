"""Tiny models of every family, with weights large enough that a wrong attention shows in the logits."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
import transformers as hf
from torch import Tensor

import regard.huggingface

WORDS = 60
PAD = 0
LENGTH = 12
WINDOW = 4
TOLERANCE = 1e-4

SIZES = {
    "vocab_size": WORDS,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 64,
    "pad_token_id": PAD,
    "bos_token_id": 1,
    "eos_token_id": None,
}
GROUPED = {**SIZES, "num_key_value_heads": 2}
QUERY_KEY = re.compile(
    r"q_proj|k_proj|query|key|q_lin|k_lin|\.q\.|\.k\.|q_norm|k_norm|c_attn|query_key_value|Wqkv|[qk]_\w_proj|kv_b_proj"
)

Inputs = dict[str, Any]


@dataclass(frozen=True)
class Kind:
    """How a family is built, and what it takes."""

    build: Callable[[], Any]
    takes: str = "text"
    gain: float = 2.0


def _vision(**more: Any) -> dict[str, Any]:
    sizes = {k: SIZES[k] for k in ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size")}
    return {**sizes, "image_size": 16, "patch_size": 4, **more}


def _clip() -> Any:
    text = {**SIZES, "eos_token_id": 2, "projection_dim": 16}
    return hf.CLIPModel(hf.CLIPConfig(text_config=text, vision_config=_vision(projection_dim=16), projection_dim=16))


def _gpt2() -> Any:
    ids = {name: SIZES[name] for name in SIZES if name.endswith("_id")}
    return hf.GPT2LMHeadModel(hf.GPT2Config(vocab_size=WORDS, n_embd=32, n_layer=2, n_head=4, n_positions=64, **ids))


def _t5() -> Any:
    config = hf.T5Config(
        vocab_size=WORDS, d_model=32, d_kv=8, d_ff=48, num_layers=2, num_heads=4, relative_attention_num_buckets=8,
        relative_attention_max_distance=16, pad_token_id=PAD, decoder_start_token_id=PAD, eos_token_id=None,
    )  # fmt: skip
    return hf.T5ForConditionalGeneration(config)


_TWO_SIDED = {
    "d_model": 32,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 48,
    "decoder_ffn_dim": 48,
    "vocab_size": WORDS,
    "pad_token_id": PAD,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "decoder_start_token_id": 2,
    "forced_eos_token_id": None,
}


def _bart() -> Any:
    return hf.BartForConditionalGeneration(hf.BartConfig(max_position_embeddings=64, **_TWO_SIDED))


def _whisper() -> Any:
    config = hf.WhisperConfig(
        num_mel_bins=8, max_source_positions=10, max_target_positions=64, suppress_tokens=None,
        begin_suppress_tokens=None, **_TWO_SIDED,
    )  # fmt: skip
    return hf.WhisperForConditionalGeneration(config)


def _gemma3() -> Any:
    layers = ["sliding_attention", "full_attention"]
    config = hf.Gemma3TextConfig(
        **GROUPED, head_dim=8, sliding_window=WINDOW, layer_types=layers, query_pre_attn_scalar=8,
        final_logit_softcapping=None,
    )  # fmt: skip
    return hf.Gemma3ForCausalLM(config)


def _gemma2() -> Any:
    layers = ["sliding_attention", "full_attention"]
    config = hf.Gemma2Config(
        **GROUPED, head_dim=8, sliding_window=WINDOW, layer_types=layers, query_pre_attn_scalar=8,
        attn_logit_softcapping=4.0, final_logit_softcapping=None,
    )  # fmt: skip
    return hf.Gemma2ForCausalLM(config)


def _gpt_oss() -> Any:
    layers = ["sliding_attention", "full_attention"]
    config = hf.GptOssConfig(
        **GROUPED, head_dim=8, sliding_window=WINDOW, layer_types=layers, num_local_experts=2, num_experts_per_tok=1,
        rope_parameters={"rope_type": "default", "rope_theta": 10000.0},
    )  # fmt: skip
    return hf.GptOssForCausalLM(config)


def _qwen3() -> Any:
    return hf.Qwen3ForCausalLM(hf.Qwen3Config(**GROUPED, head_dim=8))


def _mistral() -> Any:
    return hf.MistralForCausalLM(hf.MistralConfig(**GROUPED, sliding_window=WINDOW, head_dim=8))


def _llama4() -> Any:
    layers = ["chunked_attention", "full_attention"]
    config = hf.Llama4TextConfig(
        **GROUPED, head_dim=8, attention_chunk_size=5, layer_types=layers, intermediate_size_mlp=48,
        num_local_experts=2, num_experts_per_tok=1, moe_layers=[],
        use_qk_norm=False,
    )  # fmt: skip
    return hf.Llama4ForCausalLM(config)


def _modernbert() -> Any:
    config = hf.ModernBertConfig(**SIZES, local_attention=2 * WINDOW, global_attn_every_n_layers=2)
    return hf.ModernBertForMaskedLM(config)


def _deepseek() -> Any:
    """Values of 6 numbers a head, queries and keys of 12."""
    config = hf.DeepseekV3Config(
        **SIZES, num_key_value_heads=4, q_lora_rank=16, kv_lora_rank=16, qk_rope_head_dim=4, qk_nope_head_dim=8,
        v_head_dim=6, first_k_dense_replace=2,
    )  # fmt: skip
    return hf.DeepseekV3ForCausalLM(config)


def _distilbert() -> Any:
    return hf.DistilBertForMaskedLM(hf.DistilBertConfig(vocab_size=WORDS, dim=32, n_layers=2, n_heads=4, hidden_dim=48))


KINDS = {
    "bert": Kind(lambda: hf.BertForMaskedLM(hf.BertConfig(**SIZES))),
    "roberta": Kind(lambda: hf.RobertaForMaskedLM(hf.RobertaConfig(**SIZES))),
    "distilbert": Kind(_distilbert),
    "albert": Kind(lambda: hf.AlbertForMaskedLM(hf.AlbertConfig(**SIZES, embedding_size=16))),
    "gpt2": Kind(_gpt2),
    "gpt_neox": Kind(lambda: hf.GPTNeoXForCausalLM(hf.GPTNeoXConfig(**SIZES))),
    "llama": Kind(lambda: hf.LlamaForCausalLM(hf.LlamaConfig(**GROUPED))),
    "mistral": Kind(_mistral),
    "qwen2": Kind(lambda: hf.Qwen2ForCausalLM(hf.Qwen2Config(**GROUPED))),
    "qwen3": Kind(_qwen3),
    "gemma2": Kind(_gemma2),
    "gemma3": Kind(_gemma3),
    "gpt_oss": Kind(_gpt_oss),
    "llama4": Kind(_llama4),
    "deepseek_v3": Kind(_deepseek),
    "modernbert": Kind(_modernbert),
    "t5": Kind(_t5, "pair", gain=1.2),
    "bart": Kind(_bart, "pair"),
    "whisper": Kind(_whisper, "sound"),
    "vit": Kind(lambda: hf.ViTForImageClassification(hf.ViTConfig(**_vision())), "image"),
    "dinov2": Kind(lambda: hf.Dinov2ForImageClassification(hf.Dinov2Config(**_vision())), "image"),
    "clip": Kind(_clip, "both"),
}
DECODERS = ["gpt2", "gpt_neox", "llama", "mistral", "qwen2", "qwen3", "gemma2", "gemma3", "gpt_oss", "llama4"]


def model(name: str) -> Any:
    """A new model of a kind, in evaluation mode, under eager attention."""
    torch.manual_seed(1)
    made = KINDS[name].build().eval()
    with torch.no_grad():
        for path, parameter in made.named_parameters():
            _fill(path, parameter, KINDS[name].gain)
    made.set_attn_implementation("eager")
    return made


def _fill(path: str, parameter: Tensor, gain: float) -> None:
    gain = gain if QUERY_KEY.search(path) else 1.0
    if "sinks" in path:
        parameter.normal_(1.0, 1.0)
    elif parameter.ndim == 0:
        parameter.fill_(1.0)
    elif re.search(r"norm|ln_|lambda", path.lower()):
        parameter.mul_(gain).add_((gain - 1) * (parameter == 0))
    elif "embed" in path.lower() or "relative_attention_bias" in path or "shared" in path or "wte" in path:
        parameter.normal_()
    elif parameter.ndim == 1:
        parameter.normal_(0, 0.1)
    else:
        inwards = parameter.shape[0] if "c_" in path else parameter[0].numel()
        parameter.normal_(0, gain / inwards**0.5)


@cache
def _tokens(rows: int, length: int) -> Tensor:
    drawn = torch.Generator().manual_seed(3)
    return torch.randint(3, WORDS, (rows, length), generator=drawn)


def tokens(rows: int = 2, length: int = LENGTH) -> Tensor:
    """Random words, never padding."""
    return _tokens(rows, length).clone()


def padded(side: str, length: int = LENGTH) -> Tensor:
    """A 2-D mask of three rows: whole, and with 3 and 5 tokens of padding on one side (or holes anywhere)."""
    real = torch.ones(3, length, dtype=torch.long)
    for row, missing in ((1, 3), (2, 5)):
        if side == "left":
            real[row, :missing] = 0
        elif side == "right":
            real[row, -missing:] = 0
        else:
            real[row, 1 : 1 + missing : 2] = 0
    return real


def inputs(name: str, real: Tensor | None = None) -> Inputs:
    """What a model of a kind takes; with a 2-D mask, as many rows as it has."""
    takes, rows = KINDS[name].takes, 2 if real is None else real.shape[0]
    drawn = torch.Generator().manual_seed(5)
    image = torch.randn(rows, 3, 16, 16, generator=drawn)
    marked = {} if real is None else {"attention_mask": real}
    words = tokens(rows) if real is None else tokens(rows) * real + PAD * (1 - real)
    if takes == "text":
        return {"input_ids": words, **marked}
    if takes == "pair":
        return {"input_ids": words, "decoder_input_ids": tokens(rows, 7), **marked}
    if takes == "sound":
        sound = torch.randn(rows, 8, 20, generator=drawn)
        return {"input_features": sound, "decoder_input_ids": tokens(rows, 7)}
    if takes == "image":
        return {"pixel_values": image}
    return {"input_ids": words, "pixel_values": image, **marked}


def logits(made: Any, given: Inputs) -> Tensor:
    """What the model says."""
    out = made(**given)
    return out.logits if "logits" in out else out.logits_per_text


def under(made: Any, name: str) -> Any:
    """The same model with another attention."""
    if name == "regard":
        return regard.huggingface.serve(made)
    made.set_attn_implementation(name)
    return made


def apart(found: Tensor, wanted: Tensor, real: Tensor | None = None) -> float:
    """The largest difference over the largest value, on real tokens."""
    found, wanted = found.detach(), wanted.detach()
    if real is not None:
        found, wanted = found[real.bool()], wanted[real.bool()]
    return float((found - wanted).abs().max() / wanted.abs().max())


def both(name: str, given: Inputs) -> tuple[Tensor, Tensor]:
    """The logits under regard and under eager attention."""
    made = model(name)
    with torch.no_grad():
        wanted = logits(made, given)
        return logits(under(made, "regard"), given), wanted
