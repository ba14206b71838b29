"""What a request and the container that it starts agree on, besides hyperparameters and metrics: names and places.

The folders of a training container are `container.layout`'s; here stands what a request names.
"""

TRAIN_CHANNEL = "train"
"""The dataset: `manifest.parquet`, `bin-images/`, `metadata/`, split."""
WEIGHTS_CHANNEL = "weights"
"""One file: the backbone's pretrained weights."""
CHECKPOINTS = "/opt/ml/checkpoints"
PREPARE_ENTRY = ("python", "-m", "bintally.cloud.container.prepare")
"""What a processing job runs, followed by `prepare_arguments`."""
PREPARE_WORK = "/opt/ml/processing/work"
PREPARE_REPORT = "/opt/ml/processing/report"
"""The audit's page is left here and lies in the bucket afterwards."""
AUDIT_PAGE = "audit.html"
