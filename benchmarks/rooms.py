"""Draws the rooms of the code and what they import of each other; every arrow points down.

    python benchmarks/rooms.py docs/images/rooms.svg

A room is a folder of a package. The files of a package's own folder are one box, or two: what its rooms import, and the commands.
A room stands one floor above the highest room that it imports. Arrows that follow from others are left out: where a imports b and
b imports c, none is drawn from a to c. Arrows to one room run together. The same code gives the same bytes.
"""

import argparse
import ast
import functools
import graphlib
import itertools
import math
import pathlib
import re
from importlib.util import resolve_name

ROOT = pathlib.Path(__file__).resolve().parents[1]
COLOURS = {"geometry": "#2f6db5", "gan": "#b3730a", "pipeline": "#2a8552", "face_relief": "#7a48ad"}
WIDTH, MARGIN, FLOOR, HEIGHT, GAP = 1200, 20, 76, 34, 16  # px: picture, its edge, floor to floor, box, between neighbours
Graph = dict[str, set[str]]
package_of = lambda name: re.match(r"\w+", name)[0]
half_width = lambda node: 0 if "@" in node else 12 + 3.35 * len(node)


def project_files() -> dict[str, pathlib.Path]:
    paths = [path for package in COLOURS for path in sorted((ROOT / package).rglob("*.py"))]
    return {".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path for path in paths}


def module_imports() -> Graph:
    """Module → modules of the project that it imports, wherever in its file."""
    files, imports = project_files(), {}
    for name, path in files.items():
        folder, imported = ".".join(path.relative_to(ROOT).parent.parts), set()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                imported |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                base = resolve_name("." * node.level + (node.module or ""), folder)
                imported |= {f"{base}.{alias.name}" for alias in node.names}  # a module of a room, or a name in a module
        imports[name] = {dotted if dotted in files else dotted.rpartition(".")[0] for dotted in imported} & files.keys() - {name}
    return imports


def room_graph() -> Graph:
    """Room → rooms that it imports."""
    imports = module_imports()
    room = rooms(imports)
    graph: Graph = {name: set() for name in sorted(set(room.values()))}
    for name in room:
        graph[room[name]] |= {room[other] for other in imports[name] if other in room} - {room[name]}
    return graph


def rooms(imports: Graph) -> dict[str, str]:
    """Module → its room: `gan/refiner`, or of a package's own files `gan` for what its rooms need, else `gan commands`."""
    named = {name: path for name, path in project_files().items() if name not in COLOURS or imports[name]}
    room = {name: path.relative_to(ROOT).parent.as_posix() for name, path in named.items()}
    own = {name: {other for other in found if package_of(other) == package_of(name)} for name, found in imports.items()}
    needed = closure(own | {"": {name for name in room if "/" in room[name]}})[""]
    with_rooms = {package_of(name) for name in room if "/" in room[name]}
    return {name: f"{box} commands" if box in with_rooms and name not in needed else box for name, box in room.items()}


def closure(graph: Graph) -> Graph:
    """Node → all that can be reached from it."""
    reach = {node: found & graph.keys() for node, found in graph.items()}
    for middle, node in itertools.product(graph, graph):
        reach[node] |= reach[middle] if middle in reach[node] else set()
    return reach


def routed(graph: Graph) -> tuple[list[list[str]], list[tuple[str, str]]]:
    """Nodes floor by floor, the lowest first, and links between neighbouring floors; none for arrows that follow from others.
    A longer arrow passes a node `target@floor` on each floor between, which all arrows to that target share."""
    floor = functools.cache(lambda room: 1 + max(map(floor, graph[room]), default=-1))
    reach, links = closure(graph), set()
    for room, found in graph.items():
        for target in found - {other for via in found for other in reach[via]}:
            between = [f"{target}@{height}" for height in range(floor(room) - 1, floor(target), -1)]
            links |= set(itertools.pairwise([room, *between, target]))
    nodes = sorted(graph.keys() | {node for link in links for node in link})
    height = {node: int(node.partition("@")[2]) if "@" in node else floor(node) for node in nodes}
    return [[node for node in nodes if height[node] == level] for level in range(max(height.values()) + 1)], sorted(links)


def placed(levels: list[list[str]], links: list[tuple[str, str]], seed: int) -> dict[str, float]:
    """Node → x of its middle, from places shuffled by the seed: floors are sorted and moved by where their links lead."""
    near: dict[str, list[str]] = {node: [] for level in levels for node in level}
    for node, other in [*links, *(link[::-1] for link in links)]:
        near[node] += [other] * (3 if "@" in node + other else 1)  # long arrows shall be straight
    x = {node: (index + 7) ** 3 * (seed + 7) ** 2 % 1217.0 for index, node in enumerate(near)}
    for turn in range(80):
        for level in levels if turn % 2 else levels[::-1]:
            # with a slight pull to the middle, without which the drawing spreads
            wish = {node: (sum(x[other] for other in near[node]) + WIDTH / 8) / (len(near[node]) + 1 / 4) for node in level}
            order = sorted(level, key=lambda node: (wish[node] if turn < 40 else x[node], node))
            moved = [pushed(order[::sign], wish, sign) for sign in (1, -1)]
            x |= {node: (moved[0][node] + moved[1][node]) / 2 for node in level}
    return x


def pushed(level: list[str], wish: dict[str, float], sign: int) -> dict[str, float]:
    """The wishes with gaps between, by moving to the right (sign 1) or to the left (-1) as far as needed."""
    edge, places = -math.inf, {}
    for node in level:
        place = max(sign * wish[node], edge + GAP + half_width(node))
        edge, places[node] = place + half_width(node), sign * place
    return places


def svg(graph: Graph) -> str:
    levels, links = routed(graph)
    pairs = [(a, b) for level in levels for a, b in itertools.combinations([link for link in links if link[0] in level], 2)]
    crossings = lambda x: sum((x[a[0]] - x[b[0]]) * (x[a[1]] - x[b[1]]) < 0 for a, b in pairs)
    length = lambda x: sum(abs(x[above] - x[below]) for above, below in links)
    x = min((placed(levels, links, seed) for seed in range(100)), key=lambda x: (crossings(x), length(x)))
    left, right = min(x[node] - half_width(node) for node in x), max(x[node] + half_width(node) for node in x)
    top = {node: MARGIN + (len(levels) - 1 - floor) * FLOOR for floor, level in enumerate(levels) for node in level}
    box = f"{left - MARGIN:.0f} 0 {right - left + 2 * MARGIN:.0f} {max(top.values()) + HEIGHT + MARGIN}"
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{box}" style="font:12px sans-serif;background:#fff">']
    for above, below in links:
        start, end, colour = top[above] + HEIGHT, top[below], COLOURS[package_of(below)]
        curve = f"C{x[above]:.1f} {(start + end) / 2} {x[below]:.1f} {(start + end) / 2} {x[below]:.1f} {end}"
        parts.append(f'<path fill="none" stroke="{colour}" d="M{x[above]:.1f} {start}{curve}{f"v{HEIGHT}" * ("@" in below)}"/>')
        parts += [f'<path fill="{colour}" d="M{x[below]:.1f} {end}l-4 -7h8z"/>'] * ("@" not in below)
    for room in graph:
        place = f'x="{x[room] - half_width(room):.1f}" y="{top[room]}" width="{2 * half_width(room):.1f}" height="{HEIGHT}"'
        parts.append(f'<rect {place} rx="6" fill="{{0}}" fill-opacity=".16" stroke="{{0}}"/>'.format(COLOURS[package_of(room)]))
        parts.append(f'<text x="{x[room]:.1f}" y="{top[room] + HEIGHT / 2 + 4}" text-anchor="middle">{room}</text>')
    return "\n".join([*parts, "</svg>", ""])


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("output", type=pathlib.Path, help="the SVG file")
    given, whole = arguments.parse_args(), room_graph()
    try:
        graphlib.TopologicalSorter(whole).prepare()
    except graphlib.CycleError as error:
        arguments.error(f"rooms import each other: {' → '.join(error.args[1][::-1])}")
    given.output.write_text(svg(whole), encoding="utf-8")
