"""A model of Bintally's, as an installed package: holds the file and says where it lies, nothing more."""

from pathlib import Path


def model_path() -> Path:
    """The model file."""
    return Path(__file__).with_name("model.onnx")
