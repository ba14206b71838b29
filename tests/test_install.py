"""The plain install: what `pip install bintally` brings, in an environment of its own, from the built wheel.

The versions are uv.lock's. uv takes them from its cache, which installing Bintally for development has filled; only
where they are not there does it ask the package index.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.small_dataset import draw_photo
from tests.tiny_model import write_tiny_model

ROOT = Path(__file__).parents[1]
MOST_BYTES = 200_000_000
MOST_MODEL_BYTES = 15_000_000
UV = Path(sys.executable).parent / "uv"


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment that holds Bintally without any extra."""
    return install(tmp_path_factory.mktemp("plain") / "venv")


@pytest.fixture(scope="module")
def with_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One that holds the model that ships, too."""
    return install(tmp_path_factory.mktemp("abid") / "venv", "--extra", "abid")


def install(venv: Path, *extras: str) -> Path:
    """Make a virtual environment with Bintally."""
    environment = {name: value for name, value in os.environ.items() if name != "VIRTUAL_ENV"}
    environment |= {"UV_PROJECT_ENVIRONMENT": str(venv), "UV_PYTHON": sys.executable, "UV_PYTHON_DOWNLOADS": "never"}
    # With bytecode, as pip leaves it. Bintally itself is built anew: the cache may hold an older one.
    command = [UV, "sync", "--frozen", "--no-dev", "--no-editable", "--compile-bytecode", *extras]
    for built in ("bintally", "bintally-model-abid"):
        command += ["--reinstall-package", built]
    for more in (["--offline"], []):
        done = subprocess.run([*command, *more], cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
        if done.returncode == 0:
            return venv
    pytest.fail(f"uv could not install Bintally: {done.stderr}")


def bintally(plain: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the installed command, away from the source tree."""
    return subprocess.run(
        [plain / "bin" / "bintally", *arguments], cwd=plain, capture_output=True, text=True, check=False
    )


def installed_bytes(venv: Path) -> int:
    """What the environment's packages take, pip's own left out, where there is one."""
    packages = next(venv.glob("lib/python*/site-packages"))
    files = (path for path in packages.rglob("*") if path.is_file() and not path.is_symlink())
    return sum(path.stat().st_size for path in files if path.relative_to(packages).parts[0].split("-")[0] != "pip")


def test_it_stays_small(plain: Path) -> None:
    assert installed_bytes(plain) < MOST_BYTES


def test_it_holds_the_package_and_not_the_tests(plain: Path) -> None:
    packages = next(plain.glob("lib/python*/site-packages"))
    assert (packages / "bintally" / "py.typed").is_file()
    assert (packages / "bintally" / "evaluation" / "templates" / "report.html.j2").is_file()
    assert not (packages / "tests").exists()
    assert not (packages / "torch").exists()
    assert not (packages / "polars").exists()


def test_it_says_what_it_can(plain: Path) -> None:
    done = bintally(plain, "--help")
    assert done.returncode == 0, done.stderr
    assert "verify" in done.stdout


def test_its_recipes_came_along(plain: Path) -> None:
    done = bintally(plain, "recipes", "smallcnn")
    assert done.returncode == 0, done.stderr
    assert 'recipe = "smallcnn"' in done.stdout


def test_it_counts(plain: Path, tmp_path: Path) -> None:
    model = write_tiny_model(tmp_path / "model.onnx")
    photo = tmp_path / "01012.jpg"
    photo.write_bytes(draw_photo(2))
    done = bintally(plain, "count", str(photo), "--model", str(model), "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["photo"] == "01012.jpg"


def test_with_the_model_it_counts_right_after_installing(with_model: Path, tmp_path: Path) -> None:
    photo = tmp_path / "01012.jpg"
    photo.write_bytes(draw_photo(2))
    done = bintally(with_model, "count", str(photo), "--json")
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert len(answer["probabilities"]) == 21
    assert sum(answer["probabilities"]) == pytest.approx(1, abs=1e-3)


def test_the_model_is_whole_and_says_what_it_forbids(with_model: Path) -> None:
    verified = bintally(with_model, "models", "verify")
    assert verified.returncode == 0, verified.stderr
    assert "(as installed)" in verified.stdout
    assert "It answers as where it was exported" in verified.stdout
    shown = bintally(with_model, "models", "show")
    assert "bintally-model-abid 0.1.0" in shown.stdout
    assert "CC BY-NC-SA 3.0 US, non-commercial" in shown.stdout
    assert "Intended use" in shown.stdout


def test_the_model_stays_small_and_names_no_folder_of_the_machine_it_was_made_on(with_model: Path) -> None:
    (model,) = with_model.glob("lib/python*/site-packages/bintally_model_abid/model.onnx")
    data = model.read_bytes()
    assert len(data) < MOST_MODEL_BYTES
    assert b"file:" not in data
    assert b"site-packages" not in data


@pytest.mark.parametrize(
    ("extra", "arguments"),
    [
        ("data", ["ingest", "bucket", "data"]),
        ("data", ["split", "data"]),
        ("train", ["train", "x", "--recipe", "smallcnn"]),
        ("train", ["export", "run"]),
        ("train", ["demo"]),
        ("report", ["evaluate", "run", "--data", "data"]),
    ],
    ids=lambda value: value if isinstance(value, str) else value[0],
)
def test_a_missing_part_answers_with_the_install_command(plain: Path, extra: str, arguments: list[str]) -> None:
    done = bintally(plain, *arguments)
    assert done.returncode == 7, done.stderr
    assert f"bintally {arguments[0]} needs" in done.stderr
    assert f"pip install 'bintally[{extra}]'" in done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) == 1
