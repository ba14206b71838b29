"""Where people may work in the cloud, if they want to: a Studio domain, or a notebook instance; both stop when idle."""

import base64
from importlib.resources import files
from typing import Any

from bintally.cloud.stack_policies import NOTEBOOK_ROLE
from bintally.cloud.stack_settings import Notebook, Studio

_ROLE_ARN = {"Fn::GetAtt": [NOTEBOOK_ROLE, "Arn"]}


def studio_resources(project: str, studio: Studio) -> dict[str, Any]:
    """A domain, whose JupyterLab stops when idle, and one user."""
    idle = {
        "LifecycleManagement": "ENABLED",
        "IdleTimeoutInMinutes": studio.idle_minutes,
        "MinIdleTimeoutInMinutes": 60,
        "MaxIdleTimeoutInMinutes": max(studio.idle_minutes, 60),
    }
    lab = {"AppLifecycleManagement": {"IdleSettings": idle}}
    domain = {
        "DomainName": f"bintally-{project}",
        "AuthMode": "IAM",
        "VpcId": studio.vpc,
        "SubnetIds": list(studio.subnets),
        "DefaultUserSettings": {
            "ExecutionRole": _ROLE_ARN,
            "StudioWebPortal": "ENABLED",
            "DefaultLandingUri": "studio::",
            "JupyterLabAppSettings": lab,
        },
    }
    user = {"DomainId": {"Fn::GetAtt": ["StudioDomain", "DomainId"]}, "UserProfileName": studio.user}
    return {
        "StudioDomain": {"Type": "AWS::SageMaker::Domain", "Properties": domain},
        "StudioUser": {"Type": "AWS::SageMaker::UserProfile", "Properties": user},
    }


def notebook_resources(project: str, notebook: Notebook) -> dict[str, Any]:
    """An instance, and the configuration that has it look every five minutes whether it is idle."""
    script = base64.b64encode(on_start(notebook.idle_minutes).encode()).decode()
    instance = {
        "NotebookInstanceName": f"{project}-notebook",
        "InstanceType": notebook.instance_type,
        "RoleArn": _ROLE_ARN,
        "VolumeSizeInGB": notebook.volume_gb,
        "RootAccess": "Disabled",
        "LifecycleConfigName": {"Fn::GetAtt": ["NotebookIdle", "NotebookInstanceLifecycleConfigName"]},
        "InstanceMetadataServiceConfiguration": {"MinimumInstanceMetadataServiceVersion": "2"},
    }
    idle = {"NotebookInstanceLifecycleConfigName": f"{project}-stop-when-idle", "OnStart": [{"Content": script}]}
    return {
        "NotebookIdle": {"Type": "AWS::SageMaker::NotebookInstanceLifecycleConfig", "Properties": idle},
        "Notebook": {"Type": "AWS::SageMaker::NotebookInstance", "Properties": instance},
    }


def on_start(idle_minutes: int) -> str:
    """The shell script that runs as root when the instance starts: writes `notebook_idle` there and has cron run it."""
    program = (files(__package__) / "notebook_idle.py").read_text(encoding="utf-8")
    place = "/usr/local/bin/bintally_notebook_idle.py"
    python = "/home/ec2-user/anaconda3/envs/python3/bin/python"
    return (
        "#!/bin/bash\nset -e\n"
        f"cat > {place} <<'END_OF_PROGRAM'\n{program}END_OF_PROGRAM\n"
        f'echo "*/5 * * * * root {python} {place} --idle-minutes {idle_minutes}" > /etc/cron.d/bintally-notebook-idle\n'
    )
