"""The layout's rules: imports point one way (pipeline → gan → geometry), and files stay short."""

import ast
import pathlib
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[1]
PACKAGES = ("geometry", "gan", "pipeline")
FILES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
FORBIDDEN = {
    "geometry": {"gan", "pipeline", "tensorflow", "keras", "apache_beam", "torch", "jax"},
    "gan": {"pipeline", "apache_beam"},
    "pipeline": set(),
}
GAN_MAY_READ = {"geometry_image", "chart", "curvature", "errors", "heatmaps", "landmarks"}  # pure, and small
LONGEST = 400


def imported_modules(path: pathlib.Path) -> list[tuple[str, ...]]:
    """Dotted names, split, of everything a file imports anywhere in it; `from a import b` counts as a.b."""
    names = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names += [tuple(alias.name.split(".")) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = path.relative_to(ROOT).parent.parts[: -(node.level - 1) or None] if node.level else ()
            module = tuple(node.module.split(".")) if node.module else ()
            names += [(*base, *module, alias.name) for alias in node.names]
    return names


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_imports_point_one_way(path):
    package = path.relative_to(ROOT).parts[0]
    wrong = {".".join(name) for name in imported_modules(path) if name[0] in FORBIDDEN[package]}
    assert not wrong, f"{package} must not import {', '.join(sorted(wrong))}"


@pytest.mark.parametrize("path", [p for p in FILES if p.relative_to(ROOT).parts[0] == "gan"], ids=lambda path: path.name)
def test_gan_reads_only_images_charts_heatmaps_and_landmarks_of_geometry(path):
    read = {name[1] for name in imported_modules(path) if name[0] == "geometry" and len(name) > 1}
    assert read <= GAN_MAY_READ, f"gan must not import geometry.{', geometry.'.join(sorted(read - GAN_MAY_READ))}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_library_file_stays_under_400_lines(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) < LONGEST


@pytest.mark.parametrize("package", PACKAGES)
def test_no_module_hides_a_third_party_or_standard_library_name(package):
    names = {path.name.removesuffix(".py") for path in (ROOT / package).glob("*.py")} - {"__init__"}
    assert not names & {"numpy", "scipy", "open3d", "trimesh", "tensorflow", "keras"}
    assert package not in sys.stdlib_module_names


def test_the_parser_sees_nested_and_relative_imports(tmp_path, monkeypatch):
    monkeypatch.setattr(sys.modules[__name__], "ROOT", tmp_path)
    file = tmp_path / "geometry" / "readers" / "ply.py"
    file.parent.mkdir(parents=True)
    file.write_text(
        "def f():\n    import keras.ops as k\nfrom .. import mesh\nfrom . import obj\nfrom pipeline.run import main\n"
    )
    assert set(imported_modules(file)) == {
        ("keras", "ops"),
        ("geometry", "mesh"),
        ("geometry", "readers", "obj"),
        ("pipeline", "run", "main"),
    }
