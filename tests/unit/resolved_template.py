"""The template as CloudFormation would see it: SAM's shorthand written out, functions resolved.

A resource's own values stand for themselves: `<Queue>` is its URL, `<Queue.Arn>` its ARN,
unless the template itself gives the name.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from samtranslator.translator.transform import transform
from samtranslator.yaml_helper import yaml_parse

PROJECT = Path(__file__).resolve().parents[2]
DATABASE_SECRET = "arn:aws:secretsmanager:eu-west-3:123456789012:secret:database-aB3dE6"
KEY_SECRET = "arn:aws:secretsmanager:eu-west-3:123456789012:secret:key-aB3dE6"
GIVEN = {"DatabaseUrlSecretArn": DATABASE_SECRET, "OpenAiApiKeySecretArn": KEY_SECRET}
NO_VALUE = object()


class _NoManagedPolicies:
    def load(self) -> dict[str, str]:
        return {}


def written() -> dict[str, Any]:
    """template.yaml as it is written."""
    return dict(yaml_parse((PROJECT / "template.yaml").read_text()))


def translated(stage: str) -> dict[str, Any]:
    """The template after SAM's transform, as if it had been built."""
    template = written()
    template["Globals"]["Function"]["CodeUri"] = "s3://code/function"
    template["Resources"]["DependenciesLayer"]["Properties"]["ContentUri"] = "s3://code/layer"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_DEFAULT_REGION", "eu-west-3")
        return dict(transform(template, GIVEN | {"Stage": stage}, _NoManagedPolicies()))


class Resolver:
    """Evaluates the functions that our template uses, for one stack."""

    def __init__(self, template: Mapping[str, Any], parameters: Mapping[str, str]) -> None:
        self.template = template
        defaults = {k: v.get("Default") for k, v in template["Parameters"].items()}
        self.stack = f"memolist-{parameters['Stage']}"
        self.values = defaults | dict(parameters) | self._pseudo()

    def _pseudo(self) -> dict[str, object]:
        return {
            "AWS::StackName": self.stack,
            "AWS::Region": "eu-west-3",
            "AWS::AccountId": "123456789012",
            "AWS::Partition": "aws",
            "AWS::NoValue": NO_VALUE,
        }

    def resolve(self, node: Any) -> Any:
        """`node` without functions; what is AWS::NoValue is left out."""
        if isinstance(node, list):
            return [v for v in map(self.resolve, node) if v is not NO_VALUE]
        if not isinstance(node, dict):
            return node
        if len(node) == 1:
            ((name, argument),) = node.items()
            if name == "Ref":
                return self.values.get(argument, f"<{argument}>")
            if name == "Condition":
                return self.resolve(self.template["Conditions"][argument])
            if name.startswith("Fn::"):
                return self._function(name.removeprefix("Fn::"), argument)
        resolved = {k: self.resolve(v) for k, v in node.items()}
        return {k: v for k, v in resolved.items() if v is not NO_VALUE}

    def _function(self, name: str, argument: Any) -> Any:
        match name:
            case "If":
                condition = self.resolve(self.template["Conditions"][argument[0]])
                return self.resolve(argument[1 if condition else 2])
            case "GetAtt":
                return self._attribute(*argument)
            case "Sub":
                text, extra = argument if isinstance(argument, list) else (argument, {})
                return re.sub(r"\$\{([\w.:]+)\}", lambda m: self._substituted(m[1], extra), text)
            case "FindInMap":
                table, row, column = self.resolve(argument)
                return self.template["Mappings"][table][row][column]
            case _:
                return self._plain(name, self.resolve(argument))

    def _plain(self, name: str, argument: Any) -> Any:
        match name:
            case "Equals":
                return argument[0] == argument[1]
            case "Not":
                return not argument[0]
            case "And":
                return all(argument)
            case "Or":
                return any(argument)
            case "Split":
                return argument[1].split(argument[0])
            case "Join":
                return argument[0].join(argument[1])
            case _:
                raise AssertionError(f"the template uses Fn::{name}, which these tests don't know")

    def _substituted(self, name: str, extra: Mapping[str, Any]) -> str:
        if name in extra:
            return str(self.resolve(extra[name]))
        if "." in name:
            return str(self._attribute(*name.split(".", 1)))
        return str(self.values.get(name, f"<{name}>"))

    def _attribute(self, resource: str, attribute: str) -> Any:
        properties = self.template["Resources"][resource].get("Properties", {})
        if attribute == "QueueName":
            return self.resolve(properties["QueueName"])
        if attribute == "Arn" and "QueueName" in properties:
            return f"arn:aws:sqs:eu-west-3:123456789012:{self.resolve(properties['QueueName'])}"
        return f"<{resource}.{attribute}>"


class Stack:
    """One deployed stack: its resources, with everything resolved."""

    def __init__(self, stage: str, **parameters: str) -> None:
        self.template = translated(stage)
        self.resolver = Resolver(self.template, GIVEN | {"Stage": stage} | parameters)
        self.name = self.resolver.stack
        self.resources = {
            logical_id: self.resolver.resolve(resource)
            for logical_id, resource in copy.deepcopy(self.template["Resources"]).items()
            if self._exists(resource)
        }

    def _exists(self, resource: Mapping[str, Any]) -> bool:
        condition = resource.get("Condition")
        return condition is None or bool(self.resolver.resolve({"Condition": condition}))

    def of_type(self, kind: str) -> dict[str, dict[str, Any]]:
        """Properties of all resources of a type, by logical id."""
        return {k: v["Properties"] for k, v in self.resources.items() if v["Type"] == kind}

    def broken_rules(self) -> list[str]:
        """What CloudFormation would say of the parameters."""
        return [
            assertion["AssertDescription"]
            for rule in self.template["Rules"].values()
            for assertion in rule["Assertions"]
            if not self.resolver.resolve(assertion["Assert"])
        ]


def references(node: Any) -> Iterator[str]:
    """Logical ids that a piece of the template points to."""
    if isinstance(node, list):
        for item in node:
            yield from references(item)
    elif isinstance(node, dict):
        for name, argument in node.items():
            if name in {"Ref", "DependsOn"}:
                yield from [argument] if isinstance(argument, str) else argument
            elif name == "Fn::GetAtt":
                yield argument[0]
            elif name == "Fn::Sub":
                text = argument[0] if isinstance(argument, list) else argument
                yield from re.findall(r"\$\{(\w+)[.}]", text)
            else:
                yield from references(argument)
