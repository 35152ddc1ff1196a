"""Draw the packages and what each imports from the others as SVG, from the import statements.

python docs/tools/picture.py > packages.svg
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from html import escape
from pathlib import Path

WIDTH, BOX, GAP, ROW = 760, 34, 40, 78
CHARACTER, PADDING = 7.6, 24


def imports(package: Path) -> dict[str, set[str]]:
    """Return which others each package or module directly below `package` imports at import time."""
    graph: dict[str, set[str]] = {}
    for path in sorted(package.rglob("*.py")):
        name = path.relative_to(package).parts[0].removesuffix(".py")
        if not name.startswith("_"):
            tree = ast.parse(path.read_text(encoding="utf-8"))
            graph.setdefault(name, set()).update(imported(tree, package.name))
    return {name: (used & set(graph)) - {name} for name, used in graph.items()}


def imported(tree: ast.Module, package: str) -> set[str]:
    """Return the first part below `package` of every module that a tree imports on its top level."""
    found: set[str] = set()
    for node in statements(tree):
        if isinstance(node, ast.ImportFrom) and node.module == package:
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith(f"{package}."):
            found.add(str(node.module).split(".")[1])
        elif isinstance(node, ast.Import):
            names = [alias.name.split(".") for alias in node.names]
            found |= {parts[1] for parts in names if parts[0] == package and len(parts) > 1}
    return found


def statements(node: ast.AST) -> Iterator[ast.AST]:
    """Yield the statements that run at import: not those of functions or of `if TYPE_CHECKING`."""
    for child in ast.iter_child_nodes(node):
        typing_only = isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test)
        if not typing_only and not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            yield child
            yield from statements(child)


def ranks(graph: dict[str, set[str]]) -> dict[str, int]:
    """Return the length of the longest chain of imports below each node; circles are cut."""
    found: dict[str, int] = {}

    def rank(name: str, above: frozenset[str]) -> int:
        if name not in found:
            used = [rank(other, above | {name}) for other in sorted(graph[name] - above)]
            found[name] = 1 + max(used, default=-1)
        return found[name]

    for name in sorted(graph):
        rank(name, frozenset({name}))
    return found


def reduced(graph: dict[str, set[str]], rank: dict[str, int]) -> list[tuple[str, str]]:
    """Return the imports (user, used) that no chain of other imports implies."""

    def below(name: str) -> set[str]:
        direct = {other for other in graph[name] if rank[other] < rank[name]}
        return direct.union(*(below(other) for other in direct))

    return [
        (name, other)
        for name, used in graph.items()
        for other in sorted(used)
        if rank[other] < rank[name]
        and not any(other in below(third) for third in used if rank[third] < rank[name])
    ]


def places(graph: dict[str, set[str]], rank: dict[str, int]) -> dict[str, tuple[float, float, float]]:
    """Return the left edge, top and width of each node's box, a row for each rank."""
    found: dict[str, tuple[float, float, float]] = {}
    for level in range(max(rank.values()) + 1):
        names = [name for name in graph if rank[name] == level]
        # Under what it imports, as near as the row allows.
        centre = {
            name: sum(found[o][0] + found[o][2] / 2 for o in graph[name] if o in found)
            / max(1, sum(o in found for o in graph[name]))
            for name in names
        }
        names.sort(key=lambda name: (centre[name], name))
        widths = [CHARACTER * len(name) + PADDING for name in names]
        left = (WIDTH - sum(widths) - GAP * (len(names) - 1)) / 2
        for name, width in zip(names, widths, strict=True):
            found[name] = (left, 20 + level * ROW, width)
            left += width + GAP
    return found


def svg(package: Path) -> str:
    """Return the picture: what is imported stands above what imports it."""
    graph = imports(package)
    rank = ranks(graph)
    boxes = places(graph, rank)
    parts = [edge(boxes[used], boxes[name]) for name, used in reduced(graph, rank)]
    parts += [box(name, *place, folder=(package / name).is_dir()) for name, place in boxes.items()]
    height = 20 + (max(rank.values()) + 1) * ROW - (ROW - BOX) + 20
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" '
        f'font-family="ui-monospace, monospace" font-size="12.5">\n'
        f"<title>Packages and modules of {package.name}, and what each imports</title>\n"
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>\n' + "\n".join(parts) + "\n</svg>\n"
    )


def box(name: str, left: float, top: float, width: float, folder: bool) -> str:
    """Return a box with its name: packages filled, single modules with an outline only."""
    fill, weight = ("#e3e8f8", "600") if folder else ("#ffffff", "400")
    return (
        f'<rect x="{left:.1f}" y="{top}" width="{width:.1f}" height="{BOX}" rx="5" fill="{fill}" '
        f'stroke="#3f51b5"/><text x="{left + width / 2:.1f}" y="{top + BOX / 2 + 4:.1f}" '
        f'text-anchor="middle" font-weight="{weight}" fill="#1a1a2e">{escape(name)}</text>'
    )


def edge(used: tuple[float, float, float], user: tuple[float, float, float]) -> str:
    """Return a curve from the lower edge of the imported box to the upper edge of the importing one."""
    x1, y1 = used[0] + used[2] / 2, used[1] + BOX
    x2, y2 = user[0] + user[2] / 2, user[1]
    bend = (y2 - y1) / 2
    return (
        f'<path d="M{x1:.1f} {y1}C{x1:.1f} {y1 + bend:.1f} {x2:.1f} {y2 - bend:.1f} {x2:.1f} {y2}" '
        f'fill="none" stroke="#8a94b8" stroke-width="1"/>'
    )


if __name__ == "__main__":
    print(svg(Path(__file__).parents[2] / "src" / "gatescope"), end="")
