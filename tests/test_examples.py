"""The notebooks in examples/ run from top to bottom, and lie there without outputs.

The cloud's one speaks with a stand-in of AWS: what its commands do is what they do in tests/cli/test_sagemaker.py.
"""

import io
import os
import pickle
import re
import sys
import tarfile
from pathlib import Path

import nbformat
import psutil
import pytest
from nbclient import NotebookClient
from nbformat import NotebookNode
from tests.cloud.conftest import made_up_project
from tests.cloud.standin import StandIn, lines_of
from tests.cloud.standin_process import HOOK, STATE, save
from tests.fixed_model import write_fixed_model
from tests.small_dataset import draw_photo
from tests.test_docs import command_lines, fault_of

from bintally.cloud.prices import price_table
from bintally.evaluation.health import Health
from bintally.inference.archive import pack_model

ROOT = Path(__file__).parents[1]
EXAMPLES = sorted((ROOT / "examples").glob("*.ipynb"))
LONGEST_SECONDS = 300


def read(path: Path) -> NotebookNode:
    return nbformat.read(path, as_version=4)


def execute(path: Path, folder: Path) -> str:
    """Run all cells in a folder, end the kernel, and give all that was printed and shown as text."""
    notebook, kernels = read(path), []
    where = {"metadata": {"path": str(folder)}}
    client = NotebookClient(
        notebook, timeout=LONGEST_SECONDS, kernel_name="python3", resources=where, coalesce_streams=True
    )
    client.on_notebook_start = lambda **_: kernels.append(client.km.provisioner.process.pid)
    client.execute()
    assert len(kernels) == 1
    assert not psutil.pid_exists(kernels[0])
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    return "\n".join(output.get("text") or output.get("data", {}).get("text/html", "") for output in outputs)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to work in; the commands are this environment's, and nobody's own settings are read or written."""
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path / "jupyter"))
    monkeypatch.setenv("MPLCONFIGDIR", str(tmp_path / "matplotlib"))
    work = tmp_path / "work"
    work.mkdir()
    return work


@pytest.fixture
def account(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The stand-in in AWS's place for every `bintally sagemaker` that is started from here on; its file."""
    state = folder.parent / "aws" / "state"
    hook = folder.parent / "hook"
    hook.mkdir()
    (hook / "sitecustomize.py").write_text(HOOK, encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join((str(hook), str(ROOT))))
    monkeypatch.setenv(STATE, str(state))
    project = made_up_project()
    aws = StandIn(prints={"Training": list(lines_of(3))}, seconds=(3600, 1440))
    aws.images |= {("bintally-bins", "train"), ("bintally-bins", "serve")}
    aws.roles.add(project.role_arn.rpartition("/")[2])
    aws.objects[project.bucket, "datasets/abid/manifest.parquet"] = b"rows"
    aws.objects |= {(project.bucket, f"datasets/abid/bin-images/0000{n}.jpg"): draw_photo(2) for n in (1, 2)}
    model = write_fixed_model(state.with_name("model.onnx"), [0.05, 0.1, 0.7, 0.1, 0.05])
    pack_model(model, state.with_name("model.tar.gz"))
    curves = "epoch,train_loss,val_loss\n1,2.0,2.1\n2,1.5,1.8\n"
    health = Health(epochs=2, steps=8, alarms=(), rules=()).model_dump_json()
    with tarfile.open(state.with_name("output.tar.gz"), "w:gz") as tar:
        for name, text in (("curves.csv", curves), ("health.json", health)):
            member = tarfile.TarInfo(name)
            member.size = len(text)
            tar.addfile(member, io.BytesIO(text.encode()))
    save(aws, state)
    return state


def test_there_are_two_examples() -> None:
    assert [path.name for path in EXAMPLES] == ["local.ipynb", "sagemaker.ipynb"]


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_notebooks_lie_there_without_outputs(path: Path) -> None:
    notebook = read(path)
    nbformat.validate(notebook)
    for cell in notebook.cells:
        assert cell.metadata == {}
        if cell.cell_type == "code":
            assert (cell.outputs, cell.execution_count) == ([], None)
    assert notebook.metadata == {
        "kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    assert not re.search(r"(?<![\w.])/(work|root|home|tmp|Users)/", path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_every_command_in_them_is_real(path: Path) -> None:
    sources = [re.sub(r"^%%sh\n|^.* = !", "", cell.source, flags=re.MULTILINE) for cell in read(path).cells]
    calls = [words for source in sources for words in command_lines(source)]
    assert len(calls) > 8
    assert {" ".join(words): fault for words in calls if (fault := fault_of(words))} == {}


def test_the_prices_in_them_are_those_of_the_table() -> None:
    """`ml.X`: **N USD an hour**, or N USD an hour after it in the same sentence."""
    said = " ".join(" ".join(cell.source.split()) for cell in read(EXAMPLES[1]).cells if cell.cell_type == "markdown")
    pairs = re.findall(r"`(ml\.[\w.]+)`[^.`]*?\*\*([\d.]+) USD an hour", said)
    assert len(pairs) >= 3
    table = price_table()
    assert [(kind, float(usd)) for kind, usd in pairs] == [(kind, table.instances[kind].usd_hour) for kind, _ in pairs]
    assert f"{table.storage.bucket_gb_month} USD per GB and month" in said


def test_the_local_example(folder: Path) -> None:
    said = execute(EXAMPLES[0], folder)
    for part in (
        "Drew 200 photos",
        "Flags of 200 photos",
        "best epoch",
        "Report:",
        "items (",
        "REVIEW",
        "exit code 12",
    ):
        assert part in said, part
    assert said.count("data:image/jpeg") == 16  # eight of the bucket, four dark ones, two pairs
    work = folder / "local-example"
    assert (work / "run" / "model.onnx").is_file()
    assert "<svg" in (work / "run" / "evaluation" / "report.html").read_text(encoding="utf-8")


def test_the_example_in_the_cloud(folder: Path, account: Path) -> None:
    said = execute(EXAMPLES[1], folder)
    for part in (
        '"operation": "CreateChangeSet"',
        "Written: bintally-sagemaker.toml",
        "at most $0.2",
        "Spot saved 60%",
        "Health: ",
        "2 items (70% sure",
        "CreateHyperParameterTuningJob",
        "is in service",
        "the tag is not activated for billing",
        "$7.00",  # a dollar a day
        "Runs by the hour: $0.12",
        "delete endpoint bins-endpoint-",
    ):
        assert part in said, part
    assert (folder / "sagemaker" / "cost.html").is_file()
    left = pickle.loads(account.read_bytes())  # noqa: S301 - our own
    assert left["things"] == {}
    sent = [request.operation for request in left["requests"]]
    assert [each for each in sent if each.startswith("Create")] == [
        "CreateChangeSet",
        "CreateProcessingJob",
        "CreateTrainingJob",
        "CreateModel",
        "CreateEndpointConfig",
        "CreateEndpoint",
        "CreateModel",
        "CreateTransformJob",
    ]
