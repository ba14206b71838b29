"""A project's CloudFormation template as a pure function: bucket, role, policy, repository, budget, and options.

The bucket outlives the stack, for it holds what cost money to make; everything else goes with it.
"""

import json
from typing import Any

from bintally.cloud.cost_requests import SERVICES
from bintally.cloud.names import Kind, tags
from bintally.cloud.places import BATCHES, CAPTURES, CHECKPOINTS
from bintally.cloud.stack_notebooks import notebook_resources, studio_resources
from bintally.cloud.stack_policies import (
    BUCKET,
    NOTEBOOK_ROLE,
    REPOSITORY,
    ROLE,
    USER_POLICY,
    bucket_policy,
    execution_role,
    notebook_role,
    user_policy,
)
from bintally.cloud.stack_settings import Budget, StackSettings

_RESULT_DAYS = 90  # batch results and captured requests


def template(settings: StackSettings) -> dict[str, Any]:
    """The whole template, as plain values."""
    resources: dict[str, Any] = {
        BUCKET: _bucket(settings),
        "BucketPolicy": bucket_policy(),
        ROLE: execution_role(settings),
        USER_POLICY: user_policy(settings),
        REPOSITORY: _repository(settings),
    }
    if settings.budget:
        resources["Budget"] = _budget(settings.project, settings.budget)
    if settings.studio or settings.notebook:
        resources[NOTEBOOK_ROLE] = notebook_role(settings)
    if settings.studio:
        resources |= studio_resources(settings.project, settings.studio)
    if settings.notebook:
        resources |= notebook_resources(settings.project, settings.notebook)
    return {
        "AWSTemplateFormatVersion": "2010-09-09",
        "Description": f"Bintally on SageMaker: what the project {settings.project} needs. Made by bintally.",
        "Resources": resources,
        "Outputs": {
            "BucketName": {"Value": {"Ref": BUCKET}},
            "RoleArn": {"Value": {"Fn::GetAtt": [ROLE, "Arn"]}},
            "RepositoryUri": {"Value": {"Fn::GetAtt": [REPOSITORY, "RepositoryUri"]}},
            "UserPolicyArn": {"Value": {"Ref": USER_POLICY}},
        },
    }


def template_text(settings: StackSettings) -> str:
    """The template as JSON, for CloudFormation, cfn-lint and people."""
    return json.dumps(template(settings), indent=1)


def stack_tags(settings: StackSettings) -> list[dict[str, str]]:
    """CloudFormation writes them on everything in the stack."""
    return tags(settings.project, Kind.STACK, settings.tags)


def _bucket(settings: StackSettings) -> dict[str, Any]:
    key = settings.kms_key
    way = {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": key} if key else {"SSEAlgorithm": "AES256"}
    expiring = {CHECKPOINTS: settings.checkpoint_days, BATCHES: _RESULT_DAYS, CAPTURES: _RESULT_DAYS}
    rules = [
        {"Id": f"{prefix}-go", "Status": "Enabled", "Prefix": f"{prefix}/", "ExpirationInDays": days}
        for prefix, days in expiring.items()
    ]
    broken = {
        "Id": "broken-uploads-go",
        "Status": "Enabled",
        "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 7},
    }
    properties = {
        "BucketName": {"Fn::Sub": f"bintally-{settings.project}-${{AWS::AccountId}}-${{AWS::Region}}"},
        "BucketEncryption": {
            "ServerSideEncryptionConfiguration": [{"ServerSideEncryptionByDefault": way, "BucketKeyEnabled": bool(key)}]
        },
        "PublicAccessBlockConfiguration": {
            "BlockPublicAcls": True,
            "BlockPublicPolicy": True,
            "IgnorePublicAcls": True,
            "RestrictPublicBuckets": True,
        },
        "OwnershipControls": {"Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]},
        "LifecycleConfiguration": {"Rules": [*rules, broken]},
    }
    return {
        "Type": "AWS::S3::Bucket",
        "DeletionPolicy": "RetainExceptOnCreate",
        "UpdateReplacePolicy": "Retain",
        "Properties": properties,
    }


def _repository(settings: StackSettings) -> dict[str, Any]:
    untagged = {
        "rulePriority": 1,
        "description": "images that lost their tag to a newer one",
        "selection": {"tagStatus": "untagged", "countType": "sinceImagePushed", "countUnit": "days", "countNumber": 14},
        "action": {"type": "expire"},
    }
    return {
        "Type": "AWS::ECR::Repository",
        "Properties": {
            "RepositoryName": f"bintally-{settings.project}",
            "EmptyOnDelete": True,
            "ImageScanningConfiguration": {"ScanOnPush": True},
            "LifecyclePolicy": {"LifecyclePolicyText": json.dumps({"rules": [untagged]})},
        },
    }


def _budget(project: str, budget: Budget) -> dict[str, Any]:
    """Told by service, not by tag: AWS counts a tag only once it is activated for billing, and nothing before."""
    whom = [{"SubscriptionType": "EMAIL", "Address": email} for email in budget.emails]
    when = [("ACTUAL", 50), ("ACTUAL", 80), ("FORECASTED", 100)]
    told = [
        {
            "Notification": {
                "NotificationType": kind,
                "ComparisonOperator": "GREATER_THAN",
                "Threshold": percent,
                "ThresholdType": "PERCENTAGE",
            },
            "Subscribers": whom,
        }
        for kind, percent in when
    ]
    return {
        "Type": "AWS::Budgets::Budget",
        "Properties": {
            "Budget": {
                "BudgetName": {"Fn::Sub": f"bintally-{project}-${{AWS::Region}}"},
                "BudgetType": "COST",
                "TimeUnit": "MONTHLY",
                "BudgetLimit": {"Amount": budget.usd_month, "Unit": "USD"},
                "CostFilters": {"Service": list(SERVICES)},
            },
            "NotificationsWithSubscribers": told,
        },
    }
