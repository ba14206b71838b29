"""`bintally sagemaker`: the verbs that run in an AWS account, put together; each has a file of its own beside this."""

import typer

from bintally.cli.sagemaker_batch import batch
from bintally.cli.sagemaker_bootstrap import bootstrap
from bintally.cli.sagemaker_clean import clean
from bintally.cli.sagemaker_cost import cost
from bintally.cli.sagemaker_deploy import deploy
from bintally.cli.sagemaker_invoke import invoke
from bintally.cli.sagemaker_prepare import prepare
from bintally.cli.sagemaker_report import attach, report
from bintally.cli.sagemaker_status import status
from bintally.cli.sagemaker_train import train
from bintally.cli.sagemaker_tune import tune

sagemaker = typer.Typer(
    name="sagemaker",
    help="Run the same jobs on Amazon SageMaker.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)
for verb in (
    bootstrap, prepare, train, tune, attach, report, deploy, invoke, batch, status, cost, clean
):  # fmt: skip
    sagemaker.command(verb.__name__)(verb)
