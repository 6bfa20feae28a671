"""The rules of the layout: which way imports point, between packages and inside each, and how long things may be."""

import ast
import graphlib
import itertools
import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).parents[1]
LIBRARY = ("geometry", "gan", "pipeline", "face_relief")  # each imports only itself and those before it
FORBIDDEN = {"geometry": {"tensorflow", "keras", "torch", "jax", "apache_beam"}, "gan": {"apache_beam"}}
TEXT = {".py", ".md", ".sh", ".yaml", ".yml", ".toml", ".txt", ".j2", ".css"}
GAN_READS = (
    "geometry.charts",
    "geometry.errors",
    "geometry.landmarks.heatmaps",
    "geometry.model.landmark_embedding",
    "geometry.model.landmark_scheme",
    "geometry.settings",
)
# Rooms, and files beside them, from the ground up: each imports only itself and what stands on the lines above it.
FLOORS = [
    line.split()
    for line in """
    geometry geometry.camera geometry.errors geometry.mesh geometry.transforms
    geometry.model geometry.scan geometry.settings
    geometry.readers geometry.surfaces
    geometry.pictures
    geometry.charts geometry.template
    geometry.learning
    geometry.model_learning geometry.evaluation geometry.landmarks geometry.refinement geometry.synthesis
    geometry.locating
    geometry.fitting
    geometry.recognition geometry.reconstruction
    gan gan.config gan.inference gan.layout
    gan.weights
    gan.training
    gan.landmarks gan.refiner
    gan.export gan.train
    pipeline
    pipeline.store
    pipeline.inputs pipeline.pictures
    pipeline.scans
    pipeline.execution pipeline.reporting
    pipeline.training pipeline.evaluate
    pipeline.launch
    pipeline.run pipeline.synthesize
    pipeline.cli
    face_relief
    """.strip().splitlines()
]
HEIGHT = {name: floor for floor, names in enumerate(FLOORS) for name in names}
PRIVATE = re.compile(r".*\._[^_]").match
MOST_LINES, MOST_COLUMNS, MOST_FUNCTION_LINES, MOST_PARAMETERS, MOST_FILES, MOST_FILES_OF_A_ROOM = 400, 130, 45, 7, 8, 20


def imports_of(root) -> dict[str, set[str]]:
    """Module → what it imports anywhere in it, functions included; `from a import b` is a.b where that is a module or private."""
    paths = {
        ".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__"): path
        for package in LIBRARY
        for path in sorted((root / package).rglob("*.py"))
    }
    found = {}
    for module, path in paths.items():
        found[module] = names = set()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                base = path.relative_to(root).parent.parts[: 1 - node.level or None] if node.level else ()
                source = ".".join([*base, *filter(None, [node.module])])
                full = [f"{source}.{alias.name}" for alias in node.names]
                names |= {name if name in paths or PRIVATE(name) else source for name in full}
    return found


def wrong_packages(root) -> list[str]:
    """Imports against the order of the packages, of a library that a package does without, past what gan reads, or of what
    another module keeps to itself."""
    wrong = []
    for module, names in imports_of(root).items():
        package = module.split(".")[0]
        forbidden = FORBIDDEN.get(package, set()) | set(LIBRARY[LIBRARY.index(package) + 1 :])
        for name in sorted(names):
            unread = package == "gan" and name.startswith("geometry") and not name.startswith(GAN_READS)
            if unread or name.split(".")[0] in forbidden or PRIVATE(name):
                wrong.append(f"{module} imports {name}")
    return wrong


def wrong_floors(root) -> list[str]:
    """A circle of modules, and imports of a room from its own floor or from above, so that no circle of rooms can be."""
    graph, wrong = imports_of(root), []
    room_of = {module: ".".join(module.split(".")[: 1 if module.startswith("face_relief") else 2]) for module in graph}
    inside = {module: {name for name in names if name in graph and name != module} for module, names in graph.items()}
    try:
        graphlib.TopologicalSorter(inside).prepare()
    except graphlib.CycleError as error:
        wrong.append("circle: " + " → ".join(error.args[1][::-1]))
    wrong += sorted({f"{room} has no floor" for room in room_of.values() if room not in HEIGHT})
    for module, name in ((module, name) for module, names in inside.items() for name in sorted(names)):
        room, other = room_of[module], room_of[name]
        if room != other and room in HEIGHT and HEIGHT.get(other, -1) >= HEIGHT[room]:
            wrong.append(f"{module} imports {name}, which is not below it")
    return wrong


def wrong_sizes(root) -> list[str]:
    """Files, lines and functions that are too long, too many parameters, and folders of too many files."""
    wrong = []
    for path in sorted(itertools.chain(*((root / folder).rglob("*.py") for folder in (*LIBRARY, "tests", "benchmarks")))):
        text, name = path.read_text(encoding="utf-8"), path.relative_to(root).as_posix()
        lines = text.splitlines()
        wrong += [f"{name}: {len(lines)} lines"] if len(lines) > MOST_LINES else []
        wrong += [f"{name}:{number}: {len(line)} columns" for number, line in enumerate(lines, 1) if len(line) > MOST_COLUMNS]
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                length = node.end_lineno - node.lineno + 1
                given = [each.arg for each in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)]
                parameters = len(given) - (given[:1] in (["self"], ["cls"]))
                where = f"{name}:{node.lineno} {node.name}"
                wrong += [f"{where}: {length} lines"] if length > MOST_FUNCTION_LINES else []
                wrong += [f"{where}: {parameters} parameters"] if parameters > MOST_PARAMETERS else []
    for folder in sorted({path.parent for package in LIBRARY for path in (root / package).rglob("*.py")}):
        files, most = len(list(folder.glob("*.py"))), MOST_FILES if folder.parent == root else MOST_FILES_OF_A_ROOM
        wrong += [f"{folder.relative_to(root).as_posix()}: {files} files"] if files > most else []
    return wrong


def unmerged(root) -> list[str]:
    """Lines that a merge left for someone to decide."""
    folders = [root / folder for folder in (*LIBRARY, "tests", "benchmarks", "docs", "configs", "examples")]
    inside = itertools.chain(*(folder.rglob("*") for folder in folders), root.glob("*"))
    files = [path for path in inside if path.suffix in TEXT and path.is_file()]
    marked = re.compile(r"^(<<<<<<<|>>>>>>>) ", re.MULTILINE)
    return sorted(path.relative_to(root).as_posix() for path in files if marked.search(path.read_text(encoding="utf-8")))


RULES = {"packages": wrong_packages, "floors": wrong_floors, "sizes": wrong_sizes, "merges": unmerged}


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_the_library_keeps_its_layout(rule):
    wrong = rule(ROOT)
    assert not wrong, "\n".join(wrong)


PLANTED = {
    "geometry knows no Keras, not in a function either": (
        wrong_packages,
        {"geometry/mesh.py": "def f():\n    import keras.ops as k"},
    ),
    "geometry reads no gan": (wrong_packages, {"geometry/mesh.py": "from gan import config"}),
    "what a module keeps to itself": (wrong_packages, {"geometry/mesh.py": "from geometry.errors import _one_line"}),
    "gan knows no Beam": (wrong_packages, {"gan/config.py": "import apache_beam as beam"}),
    "gan fits nothing": (
        wrong_packages,
        {"gan/config.py": "from geometry.fitting import options", "geometry/fitting/options.py": ""},
    ),
    "two modules of a room": (wrong_floors, {"gan/refiner/a.py": "from . import b", "gan/refiner/b.py": "import gan.refiner.a"}),
    "a room above": (wrong_floors, {"geometry/charts/chart.py": "from ..fitting import fit", "geometry/fitting/fit.py": ""}),
    "a room beside": (wrong_floors, {"geometry/charts/a.py": "import geometry.template.b", "geometry/template/b.py": ""}),
    "the ground": (wrong_floors, {"geometry/errors.py": "def f():\n    from geometry import scan", "geometry/scan.py": ""}),
    "a room without a floor": (wrong_floors, {"geometry/attic/chest.py": ""}),
    "a long file": (wrong_sizes, {"gan/config.py": "x = 1\n" * 401}),
    "a long line of a benchmark": (wrong_sizes, {"benchmarks/bench.py": "#" * 131}),
    "a long function": (wrong_sizes, {"tests/test_a.py": "def f():\n" + "    x = 1\n" * 45}),
    "eight parameters": (wrong_sizes, {"gan/config.py": "def f(a, b, /, c, d, e, f, *, g, h): ..."}),
    "nine files at the top": (wrong_sizes, {f"gan/{name}.py": "" for name in "abcdefgh"}),
    "half a merge": (unmerged, {"CHANGELOG.md": "a\n" + "<" * 7 + " HEAD\nb\n"}),
    "a full room": (wrong_sizes, {f"gan/refiner/{name}.py": "" for name in "abcdefghijklmnopqrstu"}),
}


@pytest.mark.parametrize("name", PLANTED)
def test_every_rule_catches_a_planted_offence(tmp_path, name):
    rule, files = PLANTED[name]
    sound = {"geometry/errors.py": "", "gan/config.py": "from geometry.errors import A\ndef f(self, a, b, c, d, e, f, g): ..."}
    for tree in (sound, files):
        assert rule(tmp_path) == []
        for path, text in tree.items():
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / path).write_text(text)
    assert len(rule(tmp_path)) == 1
