"""The embedded AWS: a template's triggers fire, and nothing of it stays."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from local.aws import Aws, AwsError, Stack, without_refused

TEMPLATE = """
Transform: AWS::Serverless-2016-10-31
Parameters:
  Greeting: {Type: String}
  Most: {Type: Number, Default: 2}
Globals:
  Function: {Runtime: python3.13, CodeUri: code/, Timeout: 20}
Resources:
  Function:
    Type: AWS::Serverless::Function
    Properties:
      Handler: answer.handler
      Environment:
        Variables: {GREETING: !Ref Greeting, BUCKET: !Ref Bucket, UNWANTED: "1"}
      Events:
        Message:
          Type: SQS
          Properties: {Queue: !GetAtt Queue.Arn, BatchSize: 1,
            ScalingConfig: {MaximumConcurrency: !Ref Most}}
  Queue:
    Type: AWS::SQS::Queue
    Properties:
      VisibilityTimeout: 20
  Bucket: {Type: AWS::S3::Bucket}
  Alarm:
    Type: AWS::CloudWatch::Alarm
    Properties: {Metrics: [{Id: rate, Expression: a / b}], EvaluationPeriods: 1, Threshold: 1,
      ComparisonOperator: GreaterThanThreshold}
Outputs:
  BucketName: {Value: !Ref Bucket}
  AlarmName: {Value: !Ref Alarm}
"""

CODE = """
import json, os, boto3

def handler(event, context):
    for record in event["Records"]:
        print("asked for", record["body"])
        said = {name: os.environ.get(name) for name in ("GREETING", "NAME", "UNWANTED")}
        boto3.client("s3").put_object(
            Bucket=os.environ["BUCKET"], Key=record["body"], Body=json.dumps(said)
        )
"""


@pytest.fixture(scope="module")
def aws() -> Iterator[Aws]:
    with Aws() as server:
        yield server


@pytest.fixture(scope="module")
def stack(aws: Aws, tmp_path_factory: pytest.TempPathFactory) -> Stack:
    folder = tmp_path_factory.mktemp("stack")
    (folder / "template.yaml").write_text(TEMPLATE)
    (folder / "code").mkdir()
    (folder / "code" / "answer.py").write_text(CODE)
    return aws.deploy(
        folder / "template.yaml",
        "greeter",
        parameters={"Greeting": "hello"},
        environment={"NAME": "Ada", "UNWANTED": None},
    )


def stored(aws: Aws, stack: Stack, name: str) -> Any:
    """The object a function stores, as soon as it has."""
    s3 = aws.client("s3")
    s3.get_waiter("object_exists").wait(
        Bucket=stack.outputs["BucketName"],
        Key=name,
        WaiterConfig={"Delay": 0.1, "MaxAttempts": 300},
    )
    return json.load(s3.get_object(Bucket=stack.outputs["BucketName"], Key=name)["Body"])


def test_a_message_triggers_the_function_with_its_variables(aws: Aws, stack: Stack) -> None:
    sqs = aws.client("sqs")

    sqs.send_message(QueueUrl=stack.resources["Queue"], MessageBody="first")

    assert stored(aws, stack, "first") == {"GREETING": "hello", "NAME": "Ada", "UNWANTED": None}


def test_what_a_function_wrote_can_be_read(aws: Aws, stack: Stack) -> None:
    aws.client("sqs").send_message(QueueUrl=stack.resources["Queue"], MessageBody="logged")
    stored(aws, stack, "logged")

    give_up = time.monotonic() + 30
    while "asked for logged" not in aws.log(stack.resources["Function"]):
        assert time.monotonic() < give_up
        time.sleep(0.05)


def test_what_the_emulator_refuses_is_left_out_and_named(stack: Stack) -> None:
    assert stack.left_out == ("Alarm (AWS::CloudWatch::Alarm)",)
    assert set(stack.outputs) == {"BucketName"}


def test_what_refers_to_something_left_out_is_left_out_too() -> None:
    template = {
        "Resources": {
            "Query": {"Type": "AWS::Logs::QueryDefinition", "Properties": {}},
            "Board": {
                "Type": "AWS::CloudWatch::Dashboard",
                "Properties": {"DashboardBody": {"Fn::Sub": '{"q": "${Query}"}'}},
            },
            "Topic": {"Type": "AWS::SNS::Topic", "DependsOn": ["Board"], "Properties": {}},
            "Other": {"Type": "AWS::SNS::Topic", "Properties": {"TopicName": "Query"}},
        },
        "Outputs": {"Arn": {"Value": {"Fn::GetAtt": ["Topic", "Arn"]}}, "Name": {"Value": "x"}},
    }

    kept, left_out = without_refused(template)

    assert set(kept["Resources"]) == {"Other"}
    assert set(kept["Outputs"]) == {"Name"}
    assert [each.partition(" ")[0] for each in left_out] == ["Board", "Query", "Topic"]


def test_a_stack_that_can_t_be_made_says_why(aws: Aws, tmp_path: Path) -> None:
    (tmp_path / "template.yaml").write_text("Resources: {Thing: {Type: AWS::No::Such}}")

    with pytest.raises(AwsError, match=r"AWS::No::Such"):
        aws.deploy(tmp_path / "template.yaml", "impossible")


def test_no_process_and_no_file_is_left_when_the_block_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    before = {process.pid for process in psutil.process_iter()}

    with Aws() as server:
        assert server.client("s3").list_buckets()["Buckets"] == []
        ours = [p for p in psutil.Process().children(recursive=True) if p.pid not in before]
        ports = {c.laddr.port: c.laddr.ip for p in ours for c in p.net_connections("inet")}

    assert len(ours) == 2
    assert set(ports.values()) == {"127.0.0.1"}
    assert not [process for process in ours if process.is_running()]
    assert not list(tmp_path.iterdir())
