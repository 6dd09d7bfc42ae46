"""`python -m dev.architecture`: the layers and nouns as the imports draw them, into
docs/architecture.md; with `--check` only whether that page is still true."""

import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import grimp

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "architecture.md"
LAYERS = (
    "load",
    "cli",
    "dev",
    "auth",
    "api",
    "migrations",
    "runtime",
    "service",
    "workflows",
    "activities",
    "store",
    "gateway",
    "domain",
)
"""From the top down; import-linter sees to it that no import points up."""
OF_THE_PRODUCT = ("api", "auth", "cli", "service", "workflows", "activities", "store", "domain")
"""Where a noun has a file."""

_ABOUT = """\
# Architecture

Made of the imports by `python -m dev.architecture`; `make check` says when it is not true any more.
What a folder may do is in the [README](../README.md#where-things-are), why in
[decision 1](decisions/0001-noun-is-file-layer-is-folder.md) and
[decision 37](decisions/0037-callers-come-in-by-one-door.md).
"""

Imports = Mapping[str, frozenset[str]]


def main(arguments: list[str]) -> None:
    """Write the page, or exit with 1 where it differs."""
    page = _page(_imports())
    if arguments != ["--check"]:
        PAGE.write_text(page)
    elif PAGE.read_text() != page:
        sys.exit("docs/architecture.md is not true any more: python -m dev.architecture")


def _imports() -> Imports:
    """What each module of ours imports of ours."""
    graph = grimp.build_graph(*LAYERS, cache_dir=None)
    return {
        module: frozenset(graph.find_modules_directly_imported_by(module))
        for module in graph.modules
    }


def _page(imports: Imports) -> str:
    arrows = _arrows(imports)
    return "\n".join(
        [
            _ABOUT,
            "## Layers",
            "",
            f"{len(arrows)} arrows between {len(LAYERS)} folders, none pointing up. "
            f"Circles of files: {_circles(imports)}.",
            "",
            "```mermaid",
            "flowchart TD",
            *(f"  {source} -->|{count}| {target}" for (source, target), count in arrows),
            "```",
            "",
            "The number says how many imports an arrow stands for.",
            "",
            "## Nouns",
            "",
            "A noun that has files in at least three layers, and in which.",
            "",
            *_nouns(imports),
            "",
        ]
    )


def _layer(module: str) -> str:
    return module.partition(".")[0]


def _arrows(imports: Imports) -> list[tuple[tuple[str, str], int]]:
    counted = Counter(
        (_layer(source), _layer(target))
        for source, targets in imports.items()
        for target in targets
        if _layer(source) != _layer(target)
    )
    return sorted(counted.items(), key=lambda arrow: [LAYERS.index(end) for end in arrow[0]])


def _circles(imports: Imports) -> str:
    try:
        TopologicalSorter(imports).prepare()
    except CycleError as error:
        return " → ".join(error.args[1])
    return "none"


def _nouns(imports: Imports) -> Iterator[str]:
    layers_of: defaultdict[str, set[str]] = defaultdict(set)
    for layer, name in _files(imports):
        layers_of[name].add(layer)
    yield f"| | {' | '.join(OF_THE_PRODUCT)} |"
    yield f"|---|{'---|' * len(OF_THE_PRODUCT)}"
    for name, layers in sorted(layers_of.items()):
        if len(layers) >= 3:
            cells = " | ".join("●" if layer in layers else "" for layer in OF_THE_PRODUCT)
            yield f"| {name} | {cells} |"


def _files(modules: Iterable[str]) -> Iterator[tuple[str, str]]:
    for module in modules:
        layer, _, name = module.partition(".")
        if layer in OF_THE_PRODUCT and name and "." not in name:
            yield layer, name


if __name__ == "__main__":
    main(sys.argv[1:])
