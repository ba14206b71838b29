"""Who may do what: the role that jobs run as, and the policy for the people who run them. No more than is needed.

Everything is bound to the project: its bucket's prefixes, its repository, names that begin with its own. What AWS
cannot bind to a resource (Cost Explorer, lists, ECR's token) stands apart, with `*`.
"""

from typing import Any

from bintally.cloud.names import Kind
from bintally.cloud.places import PREFIXES
from bintally.cloud.stack_settings import StackSettings

ROLE = "ExecutionRole"
NOTEBOOK_ROLE = "NotebookRole"
USER_POLICY = "UserPolicy"
BUCKET = "Bucket"
REPOSITORY = "Repository"
_LOGS = "arn:${AWS::Partition}:logs:${AWS::Region}:${AWS::AccountId}:log-group:/aws/sagemaker/*"
_SCALER = "sagemaker.application-autoscaling.amazonaws.com"
_SCALING_ROLE = f"arn:${{AWS::Partition}}:iam::${{AWS::AccountId}}:role/aws-service-role/{_SCALER}/*"
_ALARMS = "arn:${AWS::Partition}:cloudwatch:${AWS::Region}:${AWS::AccountId}:alarm:"
_HERE = "arn:${AWS::Partition}:sagemaker:${AWS::Region}:${AWS::AccountId}:"


def execution_role(settings: StackSettings) -> dict[str, Any]:
    """What containers may do: read and write the project's prefixes, fetch its image, print, and say metrics."""
    statements = [
        *_bucket_statements(),
        _allow("PullImages", _PULL, _arn(REPOSITORY)),
        _allow("SignInToEcr", ["ecr:GetAuthorizationToken"], "*"),
        _allow("Print", _PRINT, _sub(_LOGS)),
        _allow("SayMetrics", ["cloudwatch:PutMetricData"], "*")
        | {"Condition": {"StringLike": {"cloudwatch:namespace": ["/aws/sagemaker/*", "Bintally/*"]}}},
    ]
    if settings.subnets:
        statements.append(_allow("RunInVpc", _NETWORK, "*"))
    if settings.kms_key:
        statements.append(_allow("UseKey", _KEY, _key_arn(settings.kms_key)))
    return _role(settings, "job", statements)


def notebook_role(settings: StackSettings) -> dict[str, Any]:
    """What people in Studio or on the notebook instance may do: the user's policy, and use the place itself."""
    studio = [_sub(f"{_HERE}{what}/*") for what in ("app", "domain", "space", "user-profile")]
    own = _sub(f"{_HERE}notebook-instance/{settings.project}-notebook")
    statements = [_allow("Print", _PRINT, _sub(_LOGS))]
    if settings.studio:
        statements += [_allow("UseStudio", _STUDIO, studio), _allow("ListStudio", _LIST_STUDIO, "*")]
    if settings.notebook:
        statements.append(_allow("StopWhenIdle", ["sagemaker:StopNotebookInstance"], own))
    role = _role(settings, "notebook", statements)
    role["Properties"]["ManagedPolicyArns"] = [{"Ref": USER_POLICY}]
    return role


def user_policy(settings: StackSettings) -> dict[str, Any]:
    """What whoever runs the verbs may do; attach it to a user, a group or a permission set."""
    named = [_sub(f"{_HERE}{what}/{settings.project}-{kind}-*") for what, kinds in _NAMED.items() for kind in kinds]
    stack = "arn:${AWS::Partition}:cloudformation:${AWS::Region}:${AWS::AccountId}:stack/"
    alarms = f"{_ALARMS}TargetTracking-endpoint/{settings.project}-{Kind.ENDPOINT}-*"  # as autoscaling names them
    statements = [
        *_bucket_statements(),
        _allow("SeeWhoseBucket", ["s3:GetBucketTagging"], _arn(BUCKET)),
        _allow("RunJobs", _RUN, named),
        _allow("ListJobs", _LIST, "*"),
        _allow("SeeApps", ["sagemaker:DescribeApp"], _sub(f"{_HERE}app/*")),
        _allow("PassRole", ["iam:PassRole"], _arn(ROLE))
        | {"Condition": {"StringEquals": {"iam:PassedToService": "sagemaker.amazonaws.com"}}},
        _allow("SeeRole", ["iam:GetRole"], _arn(ROLE)),
        _allow("PushImages", [*_PULL, *_PUSH, "ecr:DescribeImages"], _arn(REPOSITORY)),
        _allow("SignInToEcr", ["ecr:GetAuthorizationToken"], "*"),
        _allow("ReadLogs", ["logs:DescribeLogStreams", "logs:GetLogEvents"], _sub(_LOGS)),
        _allow("SeeAlarms", ["cloudwatch:DescribeAlarms"], "*"),
        _allow("SeeCosts", ["ce:GetCostAndUsage", "ce:GetCostForecast"], "*"),
        _allow("FindByTag", ["tag:GetResources"], "*"),
        _allow("Scale", _SCALE, "*"),
        _allow("AlarmWhoeverScales", ["cloudwatch:DeleteAlarms", "cloudwatch:PutMetricAlarm"], _sub(alarms)),
        _allow("LetSageMakerScale", ["iam:CreateServiceLinkedRole"], _sub(_SCALING_ROLE))
        | {"Condition": {"StringEquals": {"iam:AWSServiceName": _SCALER}}},
        _allow("SeeStack", _SEE_STACK, _sub(f"{stack}{settings.stack_name}/*")),
    ]
    if settings.kms_key:
        statements.append(_allow("UseKey", _KEY, _key_arn(settings.kms_key)))
    return {
        "Type": "AWS::IAM::ManagedPolicy",
        "Properties": {
            "ManagedPolicyName": _sub(f"bintally-{settings.project}-user-${{AWS::Region}}"),
            "Description": f"What bintally sagemaker needs for the project {settings.project}",
            "PolicyDocument": _document(statements),
        },
    }


def bucket_policy() -> dict[str, Any]:
    """Nobody reads or writes the bucket without TLS."""
    deny = {
        "Sid": "OnlyWithTls",
        "Effect": "Deny",
        "Principal": "*",
        "Action": "s3:*",
        "Resource": [_arn(BUCKET), _sub("${Bucket.Arn}/*")],
        "Condition": {"Bool": {"aws:SecureTransport": "false"}},
    }
    return {
        "Type": "AWS::S3::BucketPolicy",
        "Properties": {"Bucket": {"Ref": BUCKET}, "PolicyDocument": _document([deny])},
    }


def _bucket_statements() -> list[dict[str, Any]]:
    listing = _allow(
        "ListBucket", ["s3:ListBucket", "s3:GetBucketLocation", "s3:ListBucketMultipartUploads"], _arn(BUCKET)
    )
    objects = [_sub(f"${{Bucket.Arn}}/{prefix}/*") for prefix in PREFIXES]
    return [listing, _allow("UseObjects", _OBJECTS, objects)]


def _role(settings: StackSettings, name: str, statements: list[dict[str, Any]]) -> dict[str, Any]:
    """A role that SageMaker takes, for this account's things only."""
    trust = {
        "Effect": "Allow",
        "Principal": {"Service": "sagemaker.amazonaws.com"},
        "Action": "sts:AssumeRole",
        "Condition": {"StringEquals": {"aws:SourceAccount": {"Ref": "AWS::AccountId"}}},
    }
    return {
        "Type": "AWS::IAM::Role",
        "Properties": {
            "RoleName": _sub(f"bintally-{settings.project}-{name}-${{AWS::Region}}"),
            "Description": f"Bintally project {settings.project}: {name}",
            "AssumeRolePolicyDocument": _document([trust]),
            "Policies": [{"PolicyName": name, "PolicyDocument": _document(statements)}],
        },
    }


def _key_arn(key: str) -> Any:
    return (
        key
        if key.startswith("arn:")
        else _sub(f"arn:${{AWS::Partition}}:kms:${{AWS::Region}}:${{AWS::AccountId}}:key/{key}")
    )


def _allow(sid: str, actions: list[str], resource: Any) -> dict[str, Any]:
    return {"Sid": sid, "Effect": "Allow", "Action": actions, "Resource": resource}


def _document(statements: list[dict[str, Any]]) -> dict[str, Any]:
    return {"Version": "2012-10-17", "Statement": statements}


def _arn(resource: str) -> dict[str, list[str]]:
    return {"Fn::GetAtt": [resource, "Arn"]}


def _sub(text: str) -> dict[str, str]:
    return {"Fn::Sub": text}


_OBJECTS = ["s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload", "s3:ListMultipartUploadParts"]
_PULL = ["ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"]
_PUSH = ["ecr:CompleteLayerUpload", "ecr:InitiateLayerUpload", "ecr:PutImage", "ecr:UploadLayerPart"]
_PRINT = ["logs:CreateLogGroup", "logs:CreateLogStream", "logs:DescribeLogStreams", "logs:PutLogEvents"]
_STUDIO = [
    *(f"sagemaker:{verb}{what}" for what in ("App", "Space") for verb in ("Create", "Delete", "Describe")),
    "sagemaker:AddTags",
    "sagemaker:CreatePresignedDomainUrl",
    "sagemaker:DescribeDomain",
    "sagemaker:DescribeUserProfile",
    "sagemaker:UpdateSpace",
]
_LIST_STUDIO = [f"sagemaker:List{what}" for what in ("Spaces", "UserProfiles")]  # the others are in `_LIST`
_KEY = ["kms:CreateGrant", "kms:Decrypt", "kms:DescribeKey", "kms:Encrypt", "kms:GenerateDataKey"]
_NETWORK = [
    "ec2:CreateNetworkInterface",
    "ec2:CreateNetworkInterfacePermission",
    "ec2:DeleteNetworkInterface",
    "ec2:DeleteNetworkInterfacePermission",
    "ec2:DescribeDhcpOptions",
    "ec2:DescribeNetworkInterfaces",
    "ec2:DescribeSecurityGroups",
    "ec2:DescribeSubnets",
    "ec2:DescribeVpcs",
]
_NAMED = {
    "training-job": (Kind.TRAIN, Kind.TUNE),
    "processing-job": (Kind.PREPARE,),
    "transform-job": (Kind.BATCH,),
    "hyper-parameter-tuning-job": (Kind.TUNE,),
    "model": (Kind.MODEL,),
    "endpoint-config": (Kind.CONFIG,),
    "endpoint": (Kind.ENDPOINT,),
}
_RUN = [
    "sagemaker:AddTags",
    "sagemaker:ListTags",
    *(
        f"sagemaker:{verb}{what}"
        for what in ("TrainingJob", "ProcessingJob", "TransformJob", "HyperParameterTuningJob")
        for verb in ("Create", "Describe", "Stop")
    ),
    *(
        f"sagemaker:{verb}{what}"
        for what in ("Model", "EndpointConfig", "Endpoint")
        for verb in ("Create", "Describe", "Delete")
    ),
    "sagemaker:UpdateEndpoint",
    "sagemaker:UpdateEndpointWeightsAndCapacities",
    "sagemaker:InvokeEndpoint",
    "sagemaker:ListTrainingJobsForHyperParameterTuningJob",
]
_LIST = [
    f"sagemaker:List{what}"
    for what in (
        "TrainingJobs",
        "ProcessingJobs",
        "TransformJobs",
        "HyperParameterTuningJobs",
        "Models",
        "EndpointConfigs",
        "Endpoints",
        "NotebookInstances",
        "Domains",
        "Apps",
    )
]
_SCALE = [
    "application-autoscaling:DeregisterScalableTarget",
    "application-autoscaling:DescribeScalableTargets",
    "application-autoscaling:DescribeScalingPolicies",
    "application-autoscaling:PutScalingPolicy",
    "application-autoscaling:RegisterScalableTarget",
]
_SEE_STACK = [
    "cloudformation:DescribeStackEvents",
    "cloudformation:DescribeStackResources",
    "cloudformation:DescribeStacks",
]
