"""Models of transformers 5 with regard in every layer.

Importing this registers the name `"regard"` with transformers, for the attention and for its mask:

    model.set_attn_implementation("regard")
    model = AutoModel.from_pretrained(..., attn_implementation="regard")

`serve(model)` does the same, sets every sub-config, and raises when the model computes attention by itself.
`with watch(model) as seen` looks at the weights of every layer while the model runs, and leaves the model as it was.
`with mask_heads(model, heads)` silences heads, `prune_heads` takes them out, `importance_by_masking` and
`importance_by_gradient` say how much each is missed.
"""

from __future__ import annotations

from regard.huggingface.ensemble import Importance, importance_by_gradient, importance_by_masking, mask_heads
from regard.huggingface.interface import attention
from regard.huggingface.library import AttentionInterface, masking
from regard.huggingface.masks import Mask, make
from regard.huggingface.models import NAME, serve
from regard.huggingface.pruning import prune_heads
from regard.huggingface.watching import watch

__all__ = [
    "Importance",
    "Mask",
    "importance_by_gradient",
    "importance_by_masking",
    "mask_heads",
    "prune_heads",
    "serve",
    "watch",
]

# Both, always: with the first alone transformers makes no mask, and padding and causality vanish in silence.
AttentionInterface.register(NAME, attention)
masking.AttentionMaskInterface.register(NAME, make)
