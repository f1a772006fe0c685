"""Public names: what `regard` offers resolves, is documented, and nothing private shows."""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import regard
from regard.errors import MissingError

# `from __future__ import annotations` leaves its name behind in every module.
LEFT_BEHIND = {"annotations"}

# Files on the first floor below `regard`, and these, say what they offer; files inside a room may leave it to the room.
ROOMS = {f"regard.terms.{room}" for room in ("score", "pattern", "bias", "normalize")}

EXTRAS = (
    "accelerate",
    "gguf",
    "matplotlib",
    "pandas",
    "sklearn",
    "starlette",
    "tokenizers",
    "torch_geometric",
    "transformers",
)


def names_of_modules() -> list[str]:
    found = pkgutil.walk_packages(regard.__path__, prefix="regard.")
    return sorted(m.name for m in found if not m.name.rpartition(".")[2].startswith("_"))


def load(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except MissingError as error:
        pytest.skip(f"{name} needs an extra that is not installed: {error}")


def source(module: ModuleType) -> ast.Module:
    assert module.__file__ is not None
    return ast.parse(Path(module.__file__).read_text(encoding="utf-8"))


def defined(module: ModuleType) -> set[str]:
    """The public functions and classes that the module's own text defines at its top."""
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    return {node.name for node in source(module).body if isinstance(node, kinds) and not node.name.startswith("_")}


def test_all_is_sorted_out() -> None:
    assert len(regard.__all__) == len(set(regard.__all__)), "a name stands twice in regard.__all__"
    assert not [name for name in regard.__all__ if name.startswith("_") and name != "__version__"]


@pytest.mark.parametrize("name", regard.__all__)
def test_public_name_resolves_and_is_documented(name: str) -> None:
    value = getattr(regard, name)
    if isinstance(value, ModuleType) or callable(value):
        doc = value.__doc__ or ""
        generated = inspect.isclass(value) and doc.startswith(f"{value.__name__}(")  # what a dataclass writes itself
        assert doc.strip() and not generated, f"regard.{name} has no docstring"


@pytest.mark.parametrize("name", regard.__all__)
def test_public_functions_take_no_private_arguments(name: str) -> None:
    value = getattr(regard, name)
    if inspect.isfunction(value):
        private = [p for p in inspect.signature(value).parameters if p.startswith("_")]
        assert not private, f"regard.{name} takes {private}"


def test_public_methods_are_documented() -> None:
    bare = []
    for name in regard.__all__:
        value = getattr(regard, name)
        if not inspect.isclass(value) or not value.__module__.startswith("regard"):
            continue
        for key, member in vars(value).items():
            target = getattr(member, "__func__", getattr(member, "fget", member))
            if not key.startswith("_") and inspect.isfunction(target) and not inspect.getdoc(getattr(value, key)):
                bare.append(f"{name}.{key}")
    assert not bare, f"no docstring: {', '.join(bare)}"


def test_nothing_leaks() -> None:
    """What `dir(regard)` shows is in `__all__` or is one of our modules."""
    shown = {name for name in vars(regard) if not name.startswith("_")} - LEFT_BEHIND - set(regard.__all__)
    modules = {name for name in shown if getattr(vars(regard)[name], "__name__", "").startswith("regard.")}
    modules &= {name for name in shown if isinstance(vars(regard)[name], ModuleType)}
    assert not shown - modules, f"leaked: {sorted(shown - modules)}"


def test_no_file_bears_the_name_of_a_public_function() -> None:
    """A module would hide the function of the same name as soon as it is imported."""
    functions = {name for name in regard.__all__ if not isinstance(getattr(regard, name), ModuleType)}
    top = {name for name in names_of_modules() if name.count(".") == 1}
    assert not {f"regard.{name}" for name in functions} & top


@pytest.mark.parametrize("name", names_of_modules())
def test_module_says_what_it_offers(name: str) -> None:
    module = load(name)
    if not source(module).body:
        return  # an empty __init__.py
    assert (module.__doc__ or "").strip(), f"{name} has no docstring"
    if defined(module) and (name.count(".") == 1 or name in ROOMS):
        assert hasattr(module, "__all__"), f"{name} has no __all__"
    offered = getattr(module, "__all__", [])
    assert len(offered) == len(set(offered)), f"{name}.__all__ names something twice"
    assert not [n for n in offered if not hasattr(module, n)], f"{name}.__all__ names what is not there"
    assert not [n for n in offered if n.startswith("_")], f"{name}.__all__ names what is private"
    bare = [n for n in offered if callable(getattr(module, n)) and not (getattr(module, n).__doc__ or "").strip()]
    assert not bare, f"{name}: no docstring on {bare}"


def test_package_is_typed() -> None:
    assert any((Path(place) / "py.typed").is_file() for place in regard.__path__)


def test_the_core_imports_no_extra() -> None:
    code = f"import sys, regard; print(*[m for m in {EXTRAS!r} if m in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not run.stdout.split(), f"`import regard` imports {run.stdout}"
