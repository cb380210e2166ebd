"""Who may import whom, read from the source: imports inside functions count like those at the top.

Arrows point up the table only: a module imports nothing that stands below it, and of what stands above it
only what its row names.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "animepggan"

ANY = ("any of the rows above",)
EVERYONE = ("bar", "disk", "device")  # rows that all below them may import
ROWS: dict[str, tuple[str, ...]] = {
    "errors": (),
    "bar": (),
    "disk": ("errors",),
    "device": ("errors",),
    "schedule": ("errors",),
    "streams": (),
    "recipe": ("errors", "schedule"),
    "networks": (),
    "objectives": (),
    "augment": ("streams",),
    "hub": ("errors",),
    "features": ("errors", "hub"),
    "corpus": ("errors", "streams", "hub", "features"),
    "checkpoint": ("errors", "recipe", "networks", "hub"),  # hub: a MODEL may be one of the hub's
    "sampling": ("errors", "streams", "networks", "checkpoint"),
    "model": ANY,
    "training": ANY,
    "transfer": ANY,
    "metrics": ("errors", "streams", "features", "corpus", "sampling"),
    "interop": ("errors", "streams", "hub", "features", "networks", "checkpoint", "sampling"),
    "report": ANY,
    "evaluation": ANY,
    "review_page": ("errors", "corpus"),
    "data": ANY,
    "run": ANY,
    "pipeline": ANY,
    "cli": ANY,
    "__main__": ANY,
}
ORDER = list(ROWS)
ROOT = "animepggan"  # the package's own __init__: the version, and the library's names, each imported on first use

NETWORK = {
    "huggingface_hub",
    "requests",
    "httpx",
    "urllib3",
    "aiohttp",
    "socket",
    "ftplib",
    "http.client",
    "urllib.request",
}
LISTENS = {"http.server", "socketserver", "wsgiref", "asyncio"}
PICKLES = {"pickle", "_pickle", "cPickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"}
READS_PICKLES = "animepggan.interop.backbones"  # of one known sha256, and only with torch.load's weights_only=True
PICKLING_CALLS = {"torch.load", "torch.save", "torch.hub.load", "torch.jit.load", "pandas.read_pickle"}


@dataclass(frozen=True)
class Import:
    """One name that a file asks for: `from a.b import c` is `a.b.c`, `import a.b` is `a.b`."""

    name: str
    line: int


def module_name(path: Path) -> str:
    """The dotted name of a file of the package."""
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(module: str, is_package: bool, tree: ast.AST) -> Iterator[Import]:
    """Every import in `tree`, with relative ones spelled out and `importlib.import_module("...")` among them."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(alias.name, node.lineno)
        elif isinstance(node, ast.ImportFrom):
            start = node.module or ""
            if node.level:
                parents = module.split(".")
                parents = parents[: len(parents) - node.level + is_package]
                start = ".".join([*parents, start] if start else parents)
            for alias in node.names:
                yield Import(f"{start}.{alias.name}", node.lineno)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] in ("import_module", "__import__"):
            yield Import(_constant(node.args[0], module) or "?", node.lineno)


def _constant(argument: ast.expr, module: str) -> str | None:
    """The name that an argument of `import_module` stands for; `f"{__name__}.{x}"` is something of the module's own."""
    if isinstance(argument, ast.Constant) and isinstance(argument.value, str) and not argument.value.startswith("."):
        return argument.value
    return f"{module}.?" if ast.unparse(argument)[2:].startswith("{__name__}.") else None


def inside(name: str, package: str) -> bool:
    """Whether the dotted `name` is `package` or something in it."""
    return name == package or name.startswith(f"{package}.")


def row_of(name: str) -> str:
    """The table's row to which a dotted name of ours belongs; the package itself and what it holds directly: ROOT."""
    parts = name.split(".")
    if len(parts) == 1 or (len(parts) == 2 and parts[1].startswith("__") and parts[1] != "__main__"):
        return ROOT
    return parts[1]


def violations(module: str, source: str, *, is_package: bool = False) -> list[str]:
    """What the module does that the rules forbid, one line each."""
    tree = ast.parse(source)
    row = row_of(module)
    if row != ROOT and row not in ROWS:
        return [f"{module}: stands in no row of the table"]
    found: list[str] = []

    def complain(line: int, what: str) -> None:
        found.append(f"{module}:{line}: {what}")

    for this in imports(module, is_package, tree):
        if inside(this.name, ROOT):
            other = row_of(this.name)
            if row == ROOT:
                if other == "cli":
                    complain(this.line, f"imports {this.name}: the command line is the library's caller")
            elif other == ROOT and not ROWS[row]:
                complain(this.line, f"imports {this.name}, but may import nothing of ours")
            elif other in (row, ROOT) or (other in EVERYONE and ORDER.index(other) < ORDER.index(row)):
                pass
            elif other not in ROWS:
                complain(this.line, f"imports {this.name}, which stands in no row of the table")
            elif ORDER.index(other) > ORDER.index(row):
                complain(this.line, f"imports {this.name}, which stands below it")
            elif ROWS[row] != ANY and other not in ROWS[row]:
                complain(this.line, f"imports {this.name}, which its row does not name")
        if this.name == "?":
            complain(this.line, "imports a module whose name only the running program knows")
        if this.name.split(".")[0] in ("scripts", "tests"):
            complain(this.line, f"imports {this.name}: scripts and tests are no part of the package")
        if row != "hub" and any(inside(this.name, package) for package in NETWORK):
            complain(this.line, f"imports {this.name}: hub.py alone uses the network")
        if row != "review_page" and any(inside(this.name, package) for package in LISTENS):
            complain(this.line, f"imports {this.name}: review_page alone listens")
        if inside(module, "animepggan.corpus.demo") and inside(this.name, "torch"):
            complain(this.line, "imports torch: drawing the demo needs none")
        if any(inside(this.name, package) for package in PICKLES):
            complain(this.line, f"imports {this.name}: nothing is pickled")
    if module == READS_PICKLES:
        tree = _WithoutSafeLoads().visit(tree)
    found += [f"{module}:{line}: {what}: nothing is pickled" for line, what in pickling(tree)]
    return found


class _WithoutSafeLoads(ast.NodeTransformer):
    """Takes `torch.load(..., weights_only=True)` out of a tree."""

    def visit_Call(self, node: ast.Call) -> ast.AST:
        safe = any(keyword.arg == "weights_only" and ast.unparse(keyword.value) == "True" for keyword in node.keywords)
        if safe and ast.unparse(node.func) == "torch.load":
            return ast.Constant(None)
        return self.generic_visit(node)


def pickling(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Uses of functions that read or write pickles, under whatever name they were imported."""
    names: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.asname:
                    names[alias.asname] = alias.name
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for alias in node.names:
                names[alias.asname or alias.name] = f"{node.module}.{alias.name}"
    for node in ast.walk(tree):
        if isinstance(node, (ast.Attribute, ast.Name)):
            first, dot, rest = ast.unparse(node).partition(".")
            if (full := names.get(first, first) + dot + rest) in PICKLING_CALLS:
                yield node.lineno, full
        if isinstance(node, ast.keyword) and node.arg == "allow_pickle" and ast.unparse(node.value) != "False":
            yield node.value.lineno, "allow_pickle"


FILES = sorted(PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=[str(path.relative_to(PACKAGE)) for path in FILES])
def test_a_module_imports_only_what_its_row_names(path: Path) -> None:
    source = path.read_text(encoding="utf-8")
    assert violations(module_name(path), source, is_package=path.name == "__init__.py") == []


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("animepggan.networks.layers", "from animepggan.errors import ModelError"),
        ("animepggan.networks.layers", "from animepggan import __version__"),
        ("animepggan.networks.layers", "import animepggan"),
        ("animepggan.objectives", "from . import networks"),
        ("animepggan.schedule", "def f():\n    from animepggan.recipe import Recipe"),
        ("animepggan.schedule", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import animepggan.recipe"),
        ("animepggan.recipe.keys", "from animepggan.streams import stream"),
        ("animepggan.recipe.keys", "from .. import run"),
        ("animepggan.recipe.keys", "from ..training import loop"),
        ("animepggan.corpus.spec", "from animepggan.training import run"),
        ("animepggan.corpus.spec", "import importlib\nimportlib.import_module('animepggan.training')"),
        ("animepggan.corpus.spec", "import importlib\nimportlib.import_module(name)"),
        ("animepggan.corpus.spec", "import importlib\nimportlib.import_module(f'animepggan.{name}')"),
        ("animepggan.corpus.spec", "from animepggan import surprise"),
        ("animepggan.report.log", "from animepggan.run import Run"),
        ("animepggan.run", "from animepggan.cli.common import Console"),
        ("animepggan", "from animepggan.cli.common import Console"),
        ("animepggan.run", "from animepggan import load"),
        ("animepggan.surprise", ""),
        ("animepggan.run", "import tests.conftest"),
        ("animepggan.run", "from scripts import demo"),
        ("animepggan.corpus.spec", "import huggingface_hub"),
        ("animepggan.corpus.spec", "from huggingface_hub import snapshot_download"),
        ("animepggan.corpus.spec", "from urllib import request"),
        ("animepggan.corpus.spec", "import socket as plug"),
        ("animepggan.report.sheet", "from http.server import HTTPServer"),
        ("animepggan.corpus.demo.draw", "import torch"),
        ("animepggan.corpus.demo.draw", "def f():\n    from torch.utils import data"),
        ("animepggan.checkpoint", "import pickle"),
        ("animepggan.checkpoint", "from pickle import loads"),
        ("animepggan.checkpoint", "import torch\ntorch.load('x', weights_only=True)"),
        ("animepggan.interop.backbones", "import torch\ntorch.load('x')"),
        ("animepggan.interop.backbones", "import torch\ntorch.load('x', weights_only=False)"),
        ("animepggan.checkpoint", "import torch\ntorch.load('x')"),
        ("animepggan.checkpoint", "import torch as t\nt.save({}, 'x')"),
        ("animepggan.checkpoint", "from torch import load as read\nread('x')"),
        ("animepggan.checkpoint", "import numpy as np\nnp.load('x', allow_pickle=True)"),
        ("animepggan.checkpoint", "import numpy as np\nnp.load('x', allow_pickle=flag)"),
    ],
)
def test_each_rule_is_seen_to_be_broken(module: str, source: str) -> None:
    assert len(violations(module, source)) == 1


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("animepggan.schedule", "from animepggan.errors import RecipeError"),
        ("animepggan.checkpoint", "from animepggan import __version__"),
        ("animepggan.recipe.keys", "from . import text\nfrom .text import dump\nfrom ..schedule import Schedule"),
        ("animepggan.training.loop", "from animepggan.sampling import draw\nfrom animepggan import objectives"),
        ("animepggan.recipe", "import importlib\nimportlib.import_module(f'{__name__}.{name}')"),
        ("animepggan", "from animepggan.run import Run"),
        ("animepggan.hub", "import huggingface_hub"),
        ("animepggan.corpus.spec", "from urllib.parse import quote"),
        ("animepggan.checkpoint", "from safetensors.torch import load_file\nimport numpy as np\nnp.load('x')"),
        ("animepggan.checkpoint", "import numpy as np\nnp.load('x', allow_pickle=False)"),
        ("animepggan.cli.sample", "import animepggan.run"),
        ("animepggan.interop.backbones", "import torch\ntorch.load('x', weights_only=True)"),
    ],
)
def test_what_is_allowed_passes(module: str, source: str) -> None:
    assert violations(module, source) == []


def test_a_relative_import_starts_at_the_package_of_the_file() -> None:
    of_a_package = violations("animepggan.recipe", "from .training import loop", is_package=True)
    assert of_a_package == []  # animepggan.recipe.training
    assert len(violations("animepggan.recipe.keys", "from ..training import loop")) == 1


def test_the_demo_corpus_is_imported_without_torch() -> None:
    """Each of its worker processes imports it anew, so its parent package has to stay light too."""
    check = "import sys, animepggan.corpus.demo; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check], check=False, timeout=60).returncode == 0
