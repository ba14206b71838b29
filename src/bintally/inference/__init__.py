"""The one path that every consumer of a model shares: ONNX Runtime, no torch."""
