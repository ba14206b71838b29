"""Who imports whom, proved in fresh interpreters: what counts and verifies never loads what trains or ingests."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from tests.small_dataset import draw_photo
from tests.tiny_model import write_tiny_model

ROOT = Path(__file__).parents[1]

# Everything that is not in the plain install, and that must not be loaded where it is installed.
TRAINERS = ["torch", "torchvision", "timm", "lightning", "torchmetrics", "safetensors", "onnx", "onnxscript", "optuna"]
HEAVY = [*TRAINERS, "tomli_w", "polars", "obstore", "duckdb", "jinja2", "matplotlib", "sklearn", "scipy", "pandas"]
HEAVY += ["mlflow"]

# To load a forbidden package raises what no `except ImportError` catches; to ask whether it is installed, as polars
# does, is allowed. What is loaded is looked at once more at the end.
GUARD = """
import sys
from importlib.machinery import ModuleSpec
forbidden = set({forbidden!r})
class Guard:
    def find_spec(self, name, path=None, target=None):
        return ModuleSpec(name, self) if name.partition(".")[0] in forbidden else None
    def create_module(self, spec):
        raise RuntimeError("forbidden import: " + spec.name)
    def exec_module(self, module):
        pass
sys.meta_path.insert(0, Guard())
sys.argv = ["bintally", *{arguments!r}]
code = 0
try:
    {body}
except SystemExit as stop:
    code = stop.code or 0
loaded = forbidden & {{name.partition(".")[0] for name in sys.modules}}
assert not loaded, loaded
sys.exit(code)
"""
COMMAND_LINE = "from bintally.cli.app import main; main()"


def in_fresh_interpreter(body: str, *arguments: str, forbidden: list[str] = HEAVY) -> subprocess.CompletedProcess[str]:
    program = GUARD.format(forbidden=forbidden, arguments=list(arguments), body=body)
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "01012.jpg"
    path.write_bytes(draw_photo(2))
    return path


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_tiny_model(tmp_path / "model.onnx")


def test_the_guard_guards() -> None:
    for body in ("import polars", "import bintally.data.manifest", "import torch.nn"):
        done = in_fresh_interpreter(body)
        assert done.returncode != 0
        assert "forbidden import" in done.stderr


@pytest.mark.parametrize(
    "module",
    [
        "bintally",
        "bintally.errors",
        "bintally.settings",
        "bintally.domain.verdicts",
        "bintally.inference.engine",
        "bintally.inference.find",
        "bintally.data.images",
        "bintally.data.synthetic",
        "bintally.cli.app",
    ],
)
def test_the_plain_parts_import_nothing_heavy(module: str) -> None:
    done = in_fresh_interpreter(f"import {module}")
    assert done.returncode == 0, done.stderr


def test_import_bintally_imports_nothing_but_itself() -> None:
    program = "import sys; before = set(sys.modules); import bintally; print(*sorted(set(sys.modules) - before))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["bintally"]


def test_evaluation_and_data_import_nothing_that_trains() -> None:
    modules = [
        f"bintally.{folder}.{path.stem}"
        for folder in ("data", "domain", "evaluation", "inference")
        for path in sorted((ROOT / "src" / "bintally" / folder).glob("*.py"))
        if path.stem != "__init__"
    ]
    assert len(modules) > 10
    done = in_fresh_interpreter(f"import {', '.join(modules)}", forbidden=TRAINERS)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "arguments", [["--help"], ["--version"], ["count", "--help"], ["train", "--help"], ["serve", "--help"]]
)
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    done = in_fresh_interpreter(COMMAND_LINE, *arguments, forbidden=[*HEAVY, "onnxruntime", "PIL"])
    assert done.returncode == 0, done.stderr
    assert "bintally" in done.stdout


def test_count_imports_nothing_heavy(photo: Path, model: Path) -> None:
    done = in_fresh_interpreter(COMMAND_LINE, "count", str(photo), "--model", str(model), "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["count"] == 2


def test_verify_imports_nothing_heavy(photo: Path, model: Path) -> None:
    done = in_fresh_interpreter(COMMAND_LINE, "verify", str(photo), "--expect", "2", "--model", str(model), "--json")
    answer = json.loads(done.stdout)
    assert answer["expected"] == 2, done.stderr
    assert done.returncode == {"match": 0, "short": 10, "over": 11, "review": 12}[answer["verdict"]]


def test_serving_imports_nothing_heavy(model: Path) -> None:
    """From the start until it is ready, and to its end."""
    stop = "lambda said: said.startswith('ready') and os.kill(os.getpid(), signal.SIGTERM)"
    settings = f"ServeSettings(model=Path({str(model)!r}))"
    imports = "import os, signal; from pathlib import Path; from bintally.serving.settings import ServeSettings"
    imports += "; from bintally.serving.server import serve"
    body = f"{imports}; serve({settings}, host='127.0.0.1', port=0, said={stop})"
    done = in_fresh_interpreter(body)
    assert done.returncode == 0, done.stderr
    for module in ("serving.container", "cli.serve", "inference.archive"):
        assert in_fresh_interpreter(f"import bintally.{module}").returncode == 0, module


def test_the_lambda_function_needs_the_plain_install_only(model: Path) -> None:
    body = f"import os; os.environ['BINTALLY_MODEL'] = {str(model)!r}; "
    body += "from bintally.serving.lambda_handler import handler; assert handler(dict(image='#'))['statusCode'] == 422"
    done = in_fresh_interpreter(body, forbidden=[*HEAVY, "fastapi", "starlette", "uvicorn", "h11", "anyio"])
    assert done.returncode == 0, done.stderr


def test_the_import_rules_hold() -> None:
    done = subprocess.run(
        [Path(sys.executable).parent / "lint-imports", "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
