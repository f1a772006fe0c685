"""The one door to transformers: what is taken from it, and from which versions."""

from __future__ import annotations

from importlib import metadata

from regard.errors import MissingError

__all__ = ["AttentionInterface", "PreTrainedModel", "capturing", "masking"]

MAJOR = "5"


def _missing(found: str) -> MissingError:
    return MissingError(
        f"regard.huggingface works with transformers {MAJOR}, and {found}; "
        "install it with: pip install 'regard[huggingface]'"
    )


try:
    _version = metadata.version("transformers")
except metadata.PackageNotFoundError:
    raise _missing("none is installed") from None
if _version.split(".")[0] != MAJOR:
    raise _missing(f"{_version} is installed")

from transformers import AttentionInterface, PreTrainedModel  # noqa: E402
from transformers import masking_utils as masking  # noqa: E402
from transformers.utils import output_capturing as _output_capturing  # noqa: E402


def capturing() -> bool:
    """Whether the model that is running now collects attention weights (`output_attentions=True`) through its hooks."""
    # Private, and the only place where transformers keeps it when a model doesn't hand the flag down to its layers.
    collector = getattr(_output_capturing, "_active_collector", None)
    wanted = collector.get() if collector is not None else None
    return any(name.endswith("attentions") for name in wanted or ())
