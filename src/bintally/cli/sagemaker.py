"""`bintally sagemaker`: the verbs that run in an AWS account, put together; each has a file of its own beside this."""

import typer

from bintally.cli.sagemaker_bootstrap import bootstrap
from bintally.cli.sagemaker_clean import clean
from bintally.cli.sagemaker_prepare import prepare
from bintally.cli.sagemaker_report import attach, report
from bintally.cli.sagemaker_status import status
from bintally.cli.sagemaker_train import train

sagemaker = typer.Typer(
    name="sagemaker",
    help="Run the same jobs on Amazon SageMaker.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)
for verb in (bootstrap, prepare, train, attach, report, status, clean):
    sagemaker.command(verb.__name__)(verb)
