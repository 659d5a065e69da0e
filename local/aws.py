"""AWS for the demo and end to end: ministack, whose triggers really invoke the functions.

It runs the functions in this interpreter, with this environment's packages: no proof of
the built artefact, which the tests in the real runtime are for.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import logging
import os
import re
import sys
import tempfile
import time
import urllib.request
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import boto3
from botocore.exceptions import ClientError

from local.child import Child
from local.postgres import free_port

REGION = "eu-west-3"
START_TIMEOUT_S = 30.0
DEPLOY_TIMEOUT_S = 60.0

Template = dict[str, Any]


class AwsError(Exception):
    """The emulator didn't start, or refused the stack; the text says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stack:
    """A deployed template."""

    name: str
    outputs: Mapping[str, str]
    resources: Mapping[str, str]
    """Logical to physical id; a queue's is its URL."""
    left_out: tuple[str, ...]
    """Logical ids (with their types) that the emulator doesn't know and that aren't there."""


class Aws:
    """`with Aws() as aws: aws.client("sqs")`. On 127.0.0.1 and a free port.

    Nothing of it outlives the block, or this process.
    """

    def __init__(self) -> None:
        self.endpoint_url = ""
        self._child: Child | None = None
        self._session: Any = boto3.Session(
            aws_access_key_id="test", aws_secret_access_key="test", region_name=REGION
        )

    def __enter__(self) -> Self:
        port = free_port()
        self.endpoint_url = f"http://127.0.0.1:{port}"
        folder = Path(tempfile.mkdtemp(prefix="memolist-aws-"))
        command = [sys.executable, "-m", "ministack"]
        self._child = Child([command], folder=folder, environment=_environment(port, folder))
        try:
            # Half a second's import, for `deploy`, while the emulator starts.
            importlib.import_module("samtranslator.translator.translator")
            # It warns of each switch that only the service itself has.
            logging.getLogger("samtranslator").setLevel(logging.ERROR)
            self._wait_until_ready(self._child)
        except BaseException:
            self._child.stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._child is not None:
            self._child.stop()
            self._child = None

    def client(self, service: str) -> Any:
        """A boto3 client of the emulator, whatever this machine's AWS configuration says."""
        return self._session.client(service, endpoint_url=self.endpoint_url)

    @property
    def variables(self) -> dict[str, str]:
        """What another process needs to reach it."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint_url,
            "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_SESSION_TOKEN": "test",
        }

    def secret(self, name: str, text: str) -> str:
        """Keep a secret in Secrets Manager; its ARN."""
        kept = self.client("secretsmanager").create_secret(Name=name, SecretString=text)
        return str(kept["ARN"])

    def deploy(
        self,
        template_path: Path,
        name: str,
        *,
        parameters: Mapping[str, str] | None = None,
        environment: Mapping[str, str | None] | None = None,
        is_built: bool = False,
    ) -> Stack:
        """Deploy a SAM template with its code, as `sam deploy` would; raises `AwsError`.

        What `sam build` made is deployed whole; of bare sources, the caches stay behind.
        `environment` is laid over every function's variables, as by `sam local --env-vars`;
        None removes one. What the emulator refuses is left out and named in the stack, and
        so is what refers to it.
        """
        template, left_out = without_refused(
            self._translated(template_path, name, parameters or {}, is_built)
        )
        for function in _of_type(template, "AWS::Lambda::Function"):
            _lay_over(function["Properties"], environment or {})
        numbers = _numbers(template, parameters or {})
        for mapping in _of_type(template, "AWS::Lambda::EventSourceMapping"):
            # ministack compares its numbers as they come, and parameters come as text.
            mapping["Properties"] = _with_numbers(mapping["Properties"], numbers)
        self._create(template, name, parameters or {})
        return self._described(name, left_out)

    def log(self, function_name: str) -> str:
        """What a function wrote, oldest first; empty while it hasn't run."""
        group = f"/aws/lambda/{function_name}"
        try:
            pages = self.client("logs").get_paginator("filter_log_events")
            events = [e for page in pages.paginate(logGroupName=group) for e in page["events"]]
        except ClientError:
            return ""
        return "\n".join(event["message"].rstrip("\n") for event in events)

    def server_log(self, size_bytes: int = 20_000) -> str:
        """The last of what the emulator itself wrote: why a function could not start, say."""
        return self._child.log(size_bytes) if self._child is not None else ""

    def _wait_until_ready(self, child: Child) -> None:
        give_up = time.monotonic() + START_TIMEOUT_S
        while True:
            if child.ended or time.monotonic() > give_up:
                raise AwsError(f"the AWS emulator did not start:\n{child.log()}")
            with (
                contextlib.suppress(OSError),
                urllib.request.urlopen(f"{self.endpoint_url}/_ministack/ready", timeout=5),
            ):
                return
            time.sleep(0.02)

    def _translated(
        self, path: Path, name: str, parameters: Mapping[str, str], is_built: bool
    ) -> Template:
        from samtranslator.parser.parser import Parser
        from samtranslator.translator.translator import Translator
        from samtranslator.yaml_helper import yaml_parse

        template: Template = yaml_parse(path.read_text(encoding="utf-8"))
        self._upload_code(template, path.parent, _bucket(name), is_built)
        defaults = {
            key: value["Default"]
            for key, value in template.get("Parameters", {}).items()
            if "Default" in value
        }
        translator = Translator(None, Parser(), boto_session=self._session)
        translated: Template = translator.translate(template, defaults | dict(parameters))
        return translated

    def _upload_code(self, template: Template, root: Path, bucket: str, is_built: bool) -> None:
        s3 = self.client("s3")
        s3.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": REGION})
        default = template.get("Globals", {}).get("Function", {}).get("CodeUri")
        uris: dict[str, str] = {}
        for resource in template["Resources"].values():
            key = _CODE.get(resource["Type"])
            if key is None:
                continue
            folder = str(resource["Properties"].get(key, default))
            if folder not in uris:
                uris[folder] = f"{len(uris)}.zip"
                body = zipped(root / folder, is_whole=is_built)
                s3.put_object(Bucket=bucket, Key=uris[folder], Body=body)
            resource["Properties"][key] = {"Bucket": bucket, "Key": uris[folder]}

    def _create(self, template: Template, name: str, parameters: Mapping[str, str]) -> None:
        cloudformation, bucket = self.client("cloudformation"), _bucket(name)
        # By address: CloudFormation takes 51,200 bytes in the call itself.
        body = json.dumps(template, default=str).encode()
        self.client("s3").put_object(Bucket=bucket, Key="template.json", Body=body)
        try:
            cloudformation.create_stack(
                StackName=name,
                TemplateURL=f"{self.endpoint_url}/{bucket}/template.json",
                Parameters=[
                    {"ParameterKey": key, "ParameterValue": value}
                    for key, value in parameters.items()
                ],
                Capabilities=["CAPABILITY_IAM", "CAPABILITY_NAMED_IAM", "CAPABILITY_AUTO_EXPAND"],
            )
        except ClientError as error:
            raise AwsError(f"the AWS emulator refused the stack {name}: {error}") from error
        give_up = time.monotonic() + DEPLOY_TIMEOUT_S
        while True:
            status = cloudformation.describe_stacks(StackName=name)["Stacks"][0]["StackStatus"]
            if status == "CREATE_COMPLETE":
                return
            if status != "CREATE_IN_PROGRESS" or time.monotonic() > give_up:
                reasons = "\n".join(_reasons(cloudformation, name))
                raise AwsError(f"the stack {name} ended as {status}:\n{reasons}")
            time.sleep(0.02)

    def _described(self, name: str, left_out: tuple[str, ...]) -> Stack:
        cloudformation = self.client("cloudformation")
        stack = cloudformation.describe_stacks(StackName=name)["Stacks"][0]
        resources = cloudformation.describe_stack_resources(StackName=name)["StackResources"]
        return Stack(
            name=name,
            outputs={o["OutputKey"]: o["OutputValue"] for o in stack.get("Outputs", ())},
            resources={r["LogicalResourceId"]: r["PhysicalResourceId"] for r in resources},
            left_out=left_out,
        )


_CODE = {"AWS::Serverless::Function": "CodeUri", "AWS::Serverless::LayerVersion": "ContentUri"}


def _bucket(stack_name: str) -> str:
    return f"{stack_name.lower()}-artifacts"


def _environment(port: int, folder: Path) -> dict[str, str]:
    # The functions inherit the emulator's environment whole: none of this machine's AWS
    # configuration may reach them.
    kept = {key: value for key, value in os.environ.items() if not key.startswith("AWS_")}
    return kept | {
        "AWS_EC2_METADATA_DISABLED": "true",
        "BIND_HOST": "127.0.0.1",
        "GATEWAY_PORT": str(port),
        "IOT_MTLS_ENABLED": "0",
        "MINISTACK_HOST": "127.0.0.1",
        "MINISTACK_REGION": REGION,
        "S3_DATA_DIR": str(folder / "s3"),
        "STATE_DIR": str(folder / "state"),
        "TMPDIR": str(folder),
    }


def zipped(folder: Path, *, is_whole: bool = False) -> bytes:
    """The files under `folder` as Lambda takes them; unless whole, without caches and `build`."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for path in sorted(folder.rglob("*")):
            name = path.relative_to(folder)
            is_left = "__pycache__" in name.parts or name.parts[0] == "build"
            if path.is_file() and (is_whole or not is_left):
                archive.write(path, name)
    return buffer.getvalue()


def without_refused(template: Template) -> tuple[Template, tuple[str, ...]]:
    """The template without what ministack refuses, nor what refers to that; and their names."""
    resources = template["Resources"]
    out = {name for name, resource in resources.items() if _is_refused(resource)}
    while more := {n for n, r in resources.items() if n not in out and _refers(r, out)}:
        out |= more
    kept: Template = {
        **template,
        "Resources": {name: r for name, r in resources.items() if name not in out},
        "Outputs": {
            name: output
            for name, output in template.get("Outputs", {}).items()
            if not _refers(output, out)
        },
    }
    return kept, tuple(f"{name} ({resources[name]['Type']})" for name in sorted(out))


def _is_refused(resource: Mapping[str, Any]) -> bool:
    kind = resource["Type"]
    # Metric math fails the whole stack; the other two the whole template.
    metric_math = kind == "AWS::CloudWatch::Alarm" and "Metrics" in resource["Properties"]
    return metric_math or kind in ("AWS::CloudWatch::CompositeAlarm", "AWS::Logs::QueryDefinition")


def _refers(value: object, names: set[str]) -> bool:
    return any(reference in names for reference in _references(value))


def _references(value: object) -> Iterator[str]:
    if isinstance(value, Sequence) and not isinstance(value, str):
        for each in value:
            yield from _references(each)
    elif isinstance(value, Mapping):
        for key, each in value.items():
            yield from _named(key, each)
            yield from _references(each)


def _named(key: str, value: object) -> Iterator[str]:
    names = [value] if isinstance(value, str) else value
    if key in ("Ref", "DependsOn") and isinstance(names, list):
        yield from names
    elif key == "Fn::GetAtt" and isinstance(names, list):
        yield names[0].partition(".")[0]
    elif key == "Fn::Sub" and isinstance(names, list):
        yield from re.findall(r"\$\{(\w+)", names[0])


def _of_type(template: Template, kind: str) -> Iterator[dict[str, Any]]:
    return (r for r in template["Resources"].values() if r["Type"] == kind)


def _lay_over(properties: dict[str, Any], environment: Mapping[str, str | None]) -> None:
    variables = properties.setdefault("Environment", {}).setdefault("Variables", {})
    for key, value in environment.items():
        if value is None:
            variables.pop(key, None)
        else:
            variables[key] = value


def _numbers(template: Template, given: Mapping[str, str]) -> dict[str, int]:
    values = {
        name: given.get(name, parameter.get("Default"))
        for name, parameter in template.get("Parameters", {}).items()
        if parameter["Type"] == "Number"
    }
    return {name: int(value) for name, value in values.items() if str(value).isdecimal()}


def _with_numbers(value: Any, numbers: Mapping[str, int]) -> Any:
    """`value` with the numbers themselves where it refers to a parameter that is one."""
    if isinstance(value, dict):
        if value.keys() == {"Ref"} and value["Ref"] in numbers:
            return numbers[value["Ref"]]
        return {key: _with_numbers(each, numbers) for key, each in value.items()}
    if isinstance(value, list):
        return [_with_numbers(each, numbers) for each in value]
    return value


def _reasons(cloudformation: Any, name: str) -> Iterator[str]:
    for event in cloudformation.describe_stack_events(StackName=name)["StackEvents"]:
        if "FAILED" in event["ResourceStatus"] and event.get("ResourceStatusReason"):
            yield f"  {event['LogicalResourceId']}: {event['ResourceStatusReason']}"
