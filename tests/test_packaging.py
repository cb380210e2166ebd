"""The project as people get it: from a checkout, editable, as a wheel and as an sdist, the same recipes are found.

Nothing is downloaded: each installation goes without its dependencies into a virtual environment of its own that
looks up everything else where these tests run.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

from animepggan import __version__

ROOT = Path(__file__).parents[1]
RECIPES = sorted(path.stem for path in (ROOT / "recipes").glob("*.yaml"))
LEFT_BEHIND = (".*", "__pycache__", "*.egg-info", "build", "dist", "runs", "samples")
KINDS = ["checkout", "wheel", *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("editable", "sdist"))]

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="looks into the folders of a POSIX environment")


def run(*command: str | Path, cwd: Path, **environment: str) -> str:
    """What `command` prints on stdout; its stderr is part of the failure."""
    # Those of this process could point an installation back to the checkout.
    inherited = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env={**inherited, "PIP_CONFIG_FILE": os.devnull, **environment},
        check=False,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


class Installation:
    """A virtual environment that sees the packages of this one, but not this one's animepggan."""

    def __init__(self, folder: Path) -> None:
        venv.create(folder, symlinks=True, with_pip=False)
        self.folder = folder
        self.python = folder / "bin" / "python"
        (site,) = folder.glob("lib/python*/site-packages")
        # A path file inside a folder that a path file names is not read: an editable animepggan stays behind.
        (site / "packages-of-the-tests.pth").write_text("\n".join(path for path in sys.path if "-packages" in path))
        self.foreign = folder / "elsewhere"
        self.foreign.mkdir()
        self.environment: dict[str, str] = {}

    def install(self, *what: str | Path) -> None:
        options = ["--no-index", "--no-deps", "--no-build-isolation", "--ignore-installed", "--quiet"]
        pip = [sys.executable, "-m", "pip", "--python", str(self.python), "--disable-pip-version-check"]
        run(*pip, "install", *options, *what, cwd=self.foreign)

    def animepggan(self, *arguments: str) -> str:
        """What the program prints, started in a folder that is no checkout."""
        script = self.folder / "bin" / "animepggan"
        command = [script] if script.exists() else [self.python, "-m", "animepggan"]
        return run(*command, *arguments, cwd=self.foreign, **self.environment)

    def evaluate(self, program: str) -> str:
        return run(self.python, "-c", program, cwd=self.foreign, **self.environment).strip()


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkout without what building and running leave in it, so that the build finds nothing made before."""
    folder = tmp_path_factory.mktemp("source") / "animepggan"
    shutil.copytree(ROOT, folder, ignore=shutil.ignore_patterns(*LEFT_BEHIND))
    return folder


def build(kind: str, source: Path, output: Path) -> Path:
    run(sys.executable, "-m", "build", "--no-isolation", f"--{kind}", "--outdir", output, source, cwd=output)
    (file,) = output.iterdir()
    return file


@pytest.fixture(scope="module")
def wheel(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from the checkout, as `sdist` is."""
    return build("wheel", source, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def sdist(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("sdist", source, tmp_path_factory.mktemp("sdist"))


@pytest.fixture(scope="module", params=KINDS)
def installation(
    request: pytest.FixtureRequest, source: Path, tmp_path_factory: pytest.TempPathFactory
) -> Installation:
    kind = request.param
    made = Installation(tmp_path_factory.mktemp(kind))
    if kind == "checkout":
        made.environment["PYTHONPATH"] = str(source)
    elif kind == "editable":
        made.install("--editable", source)
    else:
        made.install(request.getfixturevalue(kind))
    return made


def test_the_program_is_the_one_installed(installation: Installation, source: Path) -> None:
    file = Path(installation.evaluate("import animepggan; print(animepggan.__file__)"))
    assert file.is_relative_to(installation.folder) or file.is_relative_to(source)
    assert installation.animepggan("--version") == f"animepggan {__version__}\n"


def test_the_shipped_recipes_are_listed(installation: Installation) -> None:
    assert RECIPES
    listed = [line.split()[0] for line in installation.animepggan("recipes", "list").splitlines()]
    assert listed == RECIPES
    json.loads(installation.animepggan("recipes", "list", "--json"))


def test_a_shipped_recipe_is_found_by_name_where_it_was_installed(installation: Installation, source: Path) -> None:
    asked = [*RECIPES, f"recipes/{RECIPES[0]}.yaml"]  # the last is no file where the program starts
    found = f"*(find_recipe(name).path for name in {asked})"
    program = f"from animepggan.recipe import find_recipe; print({found}, sep='\\n')"
    paths = [Path(line) for line in installation.evaluate(program).splitlines()]
    assert [path.stem for path in paths] == [*RECIPES, RECIPES[0]]
    for path in paths:
        assert path.is_relative_to(installation.folder) or path.is_relative_to(source)
        assert path.read_bytes() == (source / "recipes" / path.name).read_bytes()


def test_the_base_in_the_package_is_drawn_from_where_nothing_was_trained(installation: Installation) -> None:
    assert installation.animepggan("sample", "--count", "1", "-o", "drawn") == f"{Path('drawn', 'seed000000.png')}\n"
    found = installation.evaluate("from animepggan.checkpoint import find_model; print(find_model('base').path)")
    assert (Path(found) / "README.md").is_file()


def test_listing_is_quick_wherever_it_is_installed(installation: Installation) -> None:
    """In processor seconds, at its best of five: on a busy machine the clock would measure the others."""
    taken = []
    for _ in range(5):
        before = os.times()
        installation.animepggan("recipes", "list")
        after = os.times()
        taken.append(after.children_user + after.children_system - before.children_user - before.children_system)
    assert min(taken) < 0.3


@pytest.mark.slow
@pytest.mark.parametrize("installation", ["editable"], indirect=True)
def test_an_editable_install_follows_the_checkout(installation: Installation, source: Path) -> None:
    new = source / "recipes" / "brand-new.yaml"
    new.write_text("# Brand new\nname: brand-new\n")
    try:
        assert "brand-new" in installation.animepggan("recipes", "list")
    finally:
        new.unlink()


def test_the_wheel_holds_the_package_and_the_recipes_and_nothing_else(wheel: Path, source: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    information = f"animepggan-{__version__}.dist-info/"
    data = f"animepggan-{__version__}.data/data/share/animepggan/recipes/"
    modules = {str(path.relative_to(source)) for path in (source / "animepggan").rglob("*.py")}
    assert modules <= names
    assert {"animepggan/py.typed", *(f"animepggan/review_page/page.{kind}" for kind in ("html", "css", "js"))} <= names
    assert {f"animepggan/base/{path.name}" for path in (source / "animepggan" / "base").iterdir()} <= names
    assert {f"{data}{name}.yaml" for name in RECIPES} <= names
    assert f"{information}licenses/LICENSE" in names
    assert {name for name in names if not name.startswith((information, data, "animepggan/"))} == set()


@pytest.mark.slow
def test_the_sdist_holds_all_that_a_checkout_does(sdist: Path, source: Path) -> None:
    with tarfile.open(sdist) as archive:
        names = {member.name.partition("/")[2] for member in archive.getmembers() if member.isfile()}
    assert not [name for name in names if "__pycache__" in name]
    for folder in ("animepggan", "recipes", "scripts", "tests"):
        there = {str(path.relative_to(source)) for path in (source / folder).rglob("*") if path.is_file()}
        assert there <= names
    files = ("LICENSE", "README.md", "CHANGELOG.md", "CONTRIBUTING.md", "setup.cfg", "pyproject.toml")
    assert {name for name in files if (source / name).exists()} <= names


def test_extras_are_those_that_the_readme_and_the_errors_name(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        metadata = archive.read(f"animepggan-{__version__}.dist-info/METADATA").decode()
        held = archive.namelist()
    extras = {line.partition(": ")[2] for line in metadata.splitlines() if line.startswith("Provides-Extra: ")}
    named = ["all", "ccip", "crop", "curate", "formats", "measure", "parquet", "report", "start", "test", "video"]
    assert extras == set(named)
    assert "animepggan/corpus/identity.safetensors" in held
    assert "Requires-Python: >=3.11" in metadata.splitlines()
    # A torch pinned here would part from the torchvision that the registry has for another one.
    assert any(line.startswith("Requires-Dist: torch>=") and "," not in line for line in metadata.splitlines())
