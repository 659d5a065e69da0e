"""What the embedded AWS lets through but AWS refuses, or would take and never fire."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

import pytest
from resolved_template import PROJECT, Stack, references, translated, written

from memolist_tts import telemetry
from memolist_tts.settings import Needs, Settings

NAMING_PROPERTIES = {
    "AlarmName", "DashboardName", "FunctionName", "LayerName", "LogGroupName", "Name",
    "QueueName", "RoleName", "TopicName",
}  # fmt: skip
# "Name" and "FunctionName" of these only point at something, or hold within it.
NAMED_WITHIN = {"AWS::Lambda::Alias", "AWS::Lambda::Version"}
# https://docs.aws.amazon.com/service-authorization: actions without a resource type.
WITHOUT_RESOURCE = {
    "xray:PutTraceSegments", "xray:PutTelemetryRecords",
    "ec2:CreateNetworkInterface", "ec2:DescribeNetworkInterfaces", "ec2:DescribeSubnets",
    "ec2:DeleteNetworkInterface", "ec2:AssignPrivateIpAddresses",
    "ec2:UnassignPrivateIpAddresses",
}  # fmt: skip
INSIGHTS_WORDS = {
    "fields", "filter", "sort", "limit", "stats", "as", "by", "in", "asc", "desc", "count", "avg",
    "sum", "max", "pct", "latest", "bin", "message", "d", "h",
}  # fmt: skip


@pytest.fixture(scope="module", params=["development", "production"])
def stack(request: pytest.FixtureRequest) -> Stack:
    return Stack(request.param)


@pytest.fixture(scope="module")
def dashboard(stack: Stack) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(stack.resources["Dashboard"]["Properties"]["DashboardBody"])
    return body


def functions(stack: Stack) -> dict[str, dict[str, Any]]:
    return stack.of_type("AWS::Lambda::Function")


def statements(stack: Stack, logical_id: str) -> list[dict[str, Any]]:
    properties = stack.resources[logical_id]["Properties"]
    documents = [policy["PolicyDocument"] for policy in properties.get("Policies", [])]
    documents += [properties["PolicyDocument"]] if "PolicyDocument" in properties else []
    return [statement for document in documents for statement in document["Statement"]]


def as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


# --- queues and functions


def test_a_message_stays_hidden_six_times_as_long_as_its_worker_may_run(stack: Stack) -> None:
    queue = stack.resources["Queue"]["Properties"]
    assert queue["VisibilityTimeout"] >= 6 * functions(stack)["SynthesizeFunction"]["Timeout"]


def test_queues_stay_within_what_sqs_takes(stack: Stack) -> None:
    for queue in stack.of_type("AWS::SQS::Queue").values():
        assert 0 <= queue.get("DelaySeconds", 0) <= 900
        assert 60 <= queue["MessageRetentionPeriod"] <= 1_209_600
        assert 0 <= queue.get("VisibilityTimeout", 30) <= 43_200
        assert 0 <= queue.get("ReceiveMessageWaitTimeSeconds", 0) <= 20


def test_dead_letters_outlive_the_messages_they_were(stack: Stack) -> None:
    # A dead letter keeps its first sending date, so equal retention would lose it early.
    queues = stack.of_type("AWS::SQS::Queue")
    kept_s = queues["DeadLetterQueue"]["MessageRetentionPeriod"]
    assert kept_s > queues["Queue"]["MessageRetentionPeriod"]


def test_the_dead_letter_queue_takes_letters_of_our_queue_alone(stack: Stack) -> None:
    allowed = stack.resources["DeadLetterQueue"]["Properties"]["RedriveAllowPolicy"]
    arn = f"arn:aws:sqs:eu-west-3:123456789012:{stack.name}-jobs"
    assert allowed == {"redrivePermission": "byQueue", "sourceQueueArns": [arn]}
    assert stack.resources["Queue"]["Properties"]["QueueName"] == f"{stack.name}-jobs"


def test_one_message_wakes_one_worker_and_only_failures_come_back(stack: Stack) -> None:
    (mapping,) = stack.of_type("AWS::Lambda::EventSourceMapping").values()
    assert mapping["BatchSize"] == 1
    assert mapping["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
    assert 2 <= mapping["ScalingConfig"]["MaximumConcurrency"] <= 1000
    assert mapping["FunctionName"] == "<SynthesizeFunctionAliaslive>"


def test_no_function_reserves_concurrency(stack: Stack) -> None:
    assert not [f for f in functions(stack).values() if "ReservedConcurrentExecutions" in f]


def test_only_the_worker_may_send_itself_on(stack: Stack) -> None:
    allowed = {k for k, f in functions(stack).items() if f.get("RecursiveLoop") == "Allow"}
    assert allowed == {"SynthesizeFunction"}


def test_every_function_logs_to_a_group_that_forgets(stack: Stack) -> None:
    groups = stack.of_type("AWS::Logs::LogGroup")
    for function in functions(stack).values():
        group = function["LoggingConfig"]["LogGroup"].strip("<>")
        assert groups[group]["RetentionInDays"] > 0
        # In JSON format Lambda sets AWS_LAMBDA_LOG_LEVEL, which overrides Powertools' level.
        assert function["LoggingConfig"]["LogFormat"] == "Text"


def test_sweep_and_canary_are_called_by_schedules_without_a_name_of_their_own(
    stack: Stack,
) -> None:
    schedules = stack.of_type("AWS::Scheduler::Schedule")
    called = {each["Target"]["Arn"]: each for each in schedules.values()}
    assert set(called) == {"<SweepFunctionAliaslive>", "<CanaryFunctionAliaslive>"}
    assert not [each for each in schedules.values() if "Name" in each]


@pytest.mark.parametrize(
    ("every", "state", "rate"),
    [
        ("never", "DISABLED", "rate(7 days)"),
        ("day", "ENABLED", "rate(1 day)"),
        ("week", "ENABLED", "rate(7 days)"),
    ],
)
def test_the_canary_costs_nothing_until_it_is_asked_for(every: str, state: str, rate: str) -> None:
    assert written()["Parameters"]["CanaryEvery"]["Default"] == "never"
    schedules = Stack("production", CanaryEvery=every).of_type("AWS::Scheduler::Schedule")
    canary = next(each for name, each in schedules.items() if name.startswith("Canary"))
    assert (canary["State"], canary["ScheduleExpression"]) == (state, rate)


def test_the_canary_speaks_with_the_worker_s_voices(stack: Stack) -> None:
    variables = {k: f["Environment"]["Variables"] for k, f in functions(stack).items()}
    worker, canary = variables["SynthesizeFunction"], variables["CanaryFunction"]
    speaking = ("OPENAI_", "TTS_", "VOICE_", "INSTRUCTIONS_", "LANGUAGES", "DAILY_", "REQUESTS_")
    for name in [name for name in worker if name.startswith(speaking)]:
        assert canary.get(name) == worker[name], name


def test_a_canary_s_alarm_rings_until_a_later_one_is_well(stack: Stack) -> None:
    alarms = stack.of_type("AWS::CloudWatch::Alarm")
    for name in ("CanaryDriftedAlarm", "CanaryStoppedAlarm"):
        assert alarms[name]["TreatMissingData"] == "ignore"


def test_the_canary_can_reach_neither_clips_nor_the_queue(stack: Stack) -> None:
    actions = [a for s in statements(stack, "CanaryRole") for a in as_list(s["Action"])]
    assert {action.partition(":")[0] for action in actions} == {"logs", "secretsmanager", "xray"}


def test_new_versions_get_a_tenth_of_the_work_first_in_production_alone() -> None:
    groups = Stack("production").of_type("AWS::CodeDeploy::DeploymentGroup")
    assert set(groups) == {"SynthesizeFunctionDeploymentGroup", "SweepFunctionDeploymentGroup"}
    for group in groups.values():
        assert "Canary10Percent" in group["DeploymentConfigName"]
        assert group["AlarmConfiguration"]["Alarms"]
        assert group["ServiceRoleArn"] == "<DeploymentRole.Arn>"
    assert not Stack("development").of_type("AWS::CodeDeploy::DeploymentGroup")


def test_the_handlers_of_the_functions_exist(stack: Stack) -> None:
    for function in functions(stack).values():
        module, _, name = function["Handler"].rpartition(".")
        source = (PROJECT / "src" / module.replace(".", "/")).with_suffix(".py")
        assert f"def {name}(" in source.read_text()


# --- settings


def test_every_variable_of_the_functions_is_a_setting(stack: Stack) -> None:
    for function in functions(stack).values():
        for name in function["Environment"]["Variables"]:
            known = name in Settings.model_fields or name.startswith(("VOICE_", "INSTRUCTIONS_"))
            assert known or name.startswith("POWERTOOLS_"), name


def test_the_settings_take_the_defaults_of_the_parameters(stack: Stack) -> None:
    variables = {k: _environment(f) for k, f in functions(stack).items()}
    Settings.load(Needs.WORKER | Needs.QUEUE, variables["SynthesizeFunction"])
    Settings.load(Needs.DATABASE | Needs.QUEUE, variables["SweepFunction"])
    Settings.load(Needs.DATABASE | Needs.SPEECH, variables["CanaryFunction"])


def _environment(function: dict[str, Any]) -> dict[str, str]:
    given = {k: str(v) for k, v in function["Environment"]["Variables"].items()}
    return given | {"QUEUE_URL": given["QUEUE_URL"].replace("<Queue>", "https://sqs.example/jobs")}


def test_all_functions_count_under_the_stacks_name(stack: Stack) -> None:
    for function in functions(stack).values():
        variables = function["Environment"]["Variables"]
        assert variables["POWERTOOLS_SERVICE_NAME"] == stack.name
        assert variables["POWERTOOLS_METRICS_NAMESPACE"] == telemetry.NAMESPACE


def test_no_variable_holds_a_secret(stack: Stack) -> None:
    for function in functions(stack).values():
        variables = function["Environment"]["Variables"]
        assert not variables["DATABASE_URL"]
        assert not variables.get("OPENAI_API_KEY")


@pytest.mark.parametrize(
    ("parameters", "broken"),
    [
        ({}, False),
        ({"OpenAiApiKeySecretArn": ""}, True),
        ({"OpenAiApiKeySecretArn": "", "OpenAiBaseUrl": "http://speech.internal/v1"}, False),
        ({"VpcSubnetIds": "subnet-0a"}, True),
        ({"VpcSubnetIds": "subnet-0a", "VpcSecurityGroupIds": "sg-0a"}, False),
        ({"AudioDomainName": "audio.example.com"}, True),
        ({"AudioCertificateArn": "arn:aws:acm:us-east-1:123456789012:certificate/a"}, True),
    ],
)
def test_parameters_that_need_each_other_are_asked_for(
    parameters: dict[str, str], broken: bool
) -> None:
    assert bool(Stack("development", **parameters).broken_rules()) is broken


def test_parameters_are_described_and_constrained_and_outputs_described() -> None:
    bounds = {"AllowedValues", "AllowedPattern", "MinValue", "MaxLength"}
    for name, parameter in written()["Parameters"].items():
        assert parameter["Description"], name
        assert bounds & set(parameter), name
    assert all(output["Description"] for output in written()["Outputs"].values())


def test_every_parameter_is_used_and_stands_in_a_group() -> None:
    template = written()
    used = set(references({k: template[k] for k in ("Globals", "Resources", "Conditions")}))
    groups = template["Metadata"]["AWS::CloudFormation::Interface"]["ParameterGroups"]
    grouped = [name for group in groups for name in group["Parameters"]]
    assert set(template["Parameters"]) <= used
    assert sorted(grouped) == sorted(template["Parameters"])


# --- names and circles


def test_two_stages_share_no_name() -> None:
    development, production = Stack("development"), Stack("production")
    assert not _names(development) & _names(production)


def _names(stack: Stack) -> set[tuple[str, str]]:
    named = set()
    for resource in stack.resources.values():
        if resource["Type"] not in NAMED_WITHIN:
            properties = resource.get("Properties", {})
            inner = [v for v in properties.values() if isinstance(v, dict) and "Name" in v]
            for holder in [properties, *inner]:
                named |= {
                    (resource["Type"], v)
                    for k, v in holder.items()
                    if k in NAMING_PROPERTIES and isinstance(v, str) and not v.startswith("<")
                }
    return named


def test_every_name_fits(stack: Stack) -> None:
    assert all(len(name) <= 64 for _, name in _names(stack))


@pytest.mark.parametrize("stage", ["development", "production"])
def test_no_resource_waits_for_itself(stage: str) -> None:
    resources = translated(stage)["Resources"]
    graph = {k: set(references(v)) & set(resources) for k, v in resources.items()}
    assert len(list(TopologicalSorter(graph).static_order())) == len(resources)


# --- permissions


@pytest.mark.parametrize("vpc", [{}, {"VpcSubnetIds": "subnet-0a", "VpcSecurityGroupIds": "sg-0a"}])
def test_only_what_iam_knows_no_resource_for_is_allowed_on_all(vpc: dict[str, str]) -> None:
    stack = Stack("production", **vpc)
    roles = [*stack.of_type("AWS::IAM::Role"), *stack.of_type("AWS::IAM::ManagedPolicy")]
    assert len(roles) == 7
    for statement in [s for role in roles for s in statements(stack, role)]:
        actions = as_list(statement["Action"])
        assert not [action for action in actions if "*" in action]
        if "*" in as_list(statement["Resource"]):
            assert set(actions) <= WITHOUT_RESOURCE


def test_no_role_borrows_a_managed_policy(stack: Stack) -> None:
    assert not [r for r in stack.of_type("AWS::IAM::Role").values() if r.get("ManagedPolicyArns")]


def test_the_worker_can_tell_an_absent_clip_from_a_forbidden_one(stack: Stack) -> None:
    # Without ListBucket a HEAD of what isn't there answers 403; moto says 404 either way.
    (grant,) = [s for s in statements(stack, "SynthesizeRole") if s["Action"] == "s3:ListBucket"]
    assert grant["Resource"] == "<AudioBucket.Arn>"
    assert "Condition" not in grant


def test_the_worker_can_bring_a_message_back_early(stack: Stack) -> None:
    actions = [a for s in statements(stack, "SynthesizeRole") for a in as_list(s["Action"])]
    assert "sqs:ChangeMessageVisibility" in actions


def test_without_a_vpc_no_function_touches_network_interfaces(stack: Stack) -> None:
    for role in ("SynthesizeRole", "SweepRole", "CanaryRole"):
        actions = [a for s in statements(stack, role) for a in as_list(s["Action"])]
        assert not [action for action in actions if action.startswith("ec2:")]


@pytest.mark.parametrize(
    "policy", ["QueuePolicy", "DeadLetterQueuePolicy", "AudioBucketPolicy", "AlarmTopicPolicy"]
)
def test_nothing_is_reached_without_tls(stack: Stack, policy: str) -> None:
    (denied,) = [s for s in statements(stack, policy) if s["Effect"] == "Deny"]
    assert denied["Principal"] == "*"
    assert denied["Condition"] == {"Bool": {"aws:SecureTransport": False}}


def test_audio_outlives_its_stack_and_is_read_through_cloudfront_alone(stack: Stack) -> None:
    bucket = stack.resources["AudioBucket"]
    assert bucket["DeletionPolicy"] == bucket["UpdateReplacePolicy"] == "Retain"
    assert set(bucket["Properties"]["PublicAccessBlockConfiguration"].values()) == {True}
    (read,) = [s for s in statements(stack, "AudioBucketPolicy") if s["Effect"] == "Allow"]
    assert read["Principal"] == {"Service": "cloudfront.amazonaws.com"}
    assert read["Condition"]["StringEquals"]["AWS:SourceArn"].endswith(
        "distribution/<Distribution>"
    )


def test_cloudwatch_may_ring() -> None:
    # A key of KMS that CloudWatch can't use makes alarms vanish without a word.
    stack = Stack("production")
    assert "KmsMasterKeyId" not in stack.resources["AlarmTopic"]["Properties"]
    (allowed,) = [s for s in statements(stack, "AlarmTopicPolicy") if s["Effect"] == "Allow"]
    assert allowed["Principal"] == {"Service": "cloudwatch.amazonaws.com"}


# --- alarms, dashboard, queries


def alarm_metrics(alarm: dict[str, Any]) -> list[dict[str, Any]]:
    """The metrics of an alarm, each as {Namespace, MetricName, Dimensions}."""
    if "Metrics" not in alarm:
        return [alarm]
    return [q["MetricStat"]["Metric"] for q in alarm["Metrics"] if "MetricStat" in q]


def known(stack: Stack, namespace: str, name: str, dimensions: dict[str, str]) -> bool:
    """Whether someone emits this metric under these dimensions."""
    if namespace == telemetry.NAMESPACE:
        metric = telemetry.METRICS.get(name)
        right = metric is not None and frozenset(dimensions) in metric.dimensions
        return right and dimensions["service"] == stack.name
    if namespace == "AWS/SQS":
        return dimensions["QueueName"] in {f"{stack.name}-jobs", f"{stack.name}-dead-letters"}
    return namespace == "AWS/Lambda" and dimensions["FunctionName"].strip("<>") in functions(stack)


def test_every_metric_of_an_alarm_is_emitted_under_its_dimensions(stack: Stack) -> None:
    for logical_id, alarm in stack.of_type("AWS::CloudWatch::Alarm").items():
        for metric in alarm_metrics(alarm):
            dimensions = {d["Name"]: d["Value"] for d in metric["Dimensions"]}
            assert known(stack, metric["Namespace"], metric["MetricName"], dimensions), logical_id


def test_every_alarm_rings_and_says_what_it_means(stack: Stack) -> None:
    for alarm in stack.of_type("AWS::CloudWatch::Alarm").values():
        assert alarm["AlarmActions"] == alarm["OKActions"] == ["<AlarmTopic>"]
        assert len(alarm["AlarmDescription"]) > 30
        assert alarm["TreatMissingData"] in {"breaching", "notBreaching", "ignore"}


def test_every_alarm_looks_back_no_further_than_cloudwatch_lets_it(stack: Stack) -> None:
    for alarm in stack.of_type("AWS::CloudWatch::Alarm").values():
        (period_s,) = {
            alarm.get("Period")
            or {q["MetricStat"]["Period"] for q in alarm["Metrics"] if "MetricStat" in q}.pop()
        }
        assert period_s % 60 == 0
        # A week where periods are of an hour or more, else a day.
        longest_s = 604_800 if period_s >= 3600 else 86_400
        assert period_s * alarm["EvaluationPeriods"] <= longest_s
        assert 1 <= alarm["DatapointsToAlarm"] <= alarm["EvaluationPeriods"]


def test_every_calculated_alarm_returns_one_series_of_known_ones(stack: Stack) -> None:
    calculated = [a for a in stack.of_type("AWS::CloudWatch::Alarm").values() if "Metrics" in a]
    assert calculated
    for alarm in calculated:
        (returned,) = [q for q in alarm["Metrics"] if q["ReturnData"]]
        ids = {q["Id"] for q in alarm["Metrics"]} - {returned["Id"]}
        assert used_ids(returned["Expression"]) == ids


def used_ids(expression: str) -> set[str]:
    """Metric ids in an expression: they start in lower case, its functions don't."""
    return set(re.findall(r"\b[a-z]\w*", expression))


def test_every_metric_of_the_dashboard_is_emitted_under_its_dimensions(
    stack: Stack, dashboard: dict[str, Any]
) -> None:
    for widget in dashboard["widgets"]:
        for row in widget["properties"].get("metrics", []):
            if isinstance(row[0], str):
                namespace, name, *pairs = [item for item in row if isinstance(item, str)]
                dimensions = dict(zip(pairs[::2], pairs[1::2], strict=True))
                assert known(stack, namespace, name, dimensions), row


def test_every_expression_of_the_dashboard_uses_series_of_its_widget(
    dashboard: dict[str, Any],
) -> None:
    for widget in dashboard["widgets"]:
        options = [
            r[-1] for r in widget["properties"].get("metrics", []) if isinstance(r[-1], dict)
        ]
        ids = [o["id"] for o in options if "id" in o]
        assert len(ids) == len(set(ids))
        for expression in [o["expression"] for o in options if "expression" in o]:
            assert used_ids(expression) <= set(ids)


def test_widgets_lie_side_by_side(dashboard: dict[str, Any]) -> None:
    cells = [
        (x, y)
        for w in dashboard["widgets"]
        for x in range(w["x"], w["x"] + w["width"])
        for y in range(w["y"], w["y"] + w["height"])
    ]
    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) < 24


def test_every_graph_says_where_how_and_how_often(dashboard: dict[str, Any]) -> None:
    for graph in [w["properties"] for w in dashboard["widgets"] if w["type"] == "metric"]:
        assert graph["region"] == "eu-west-3"
        assert graph["title"]
        assert graph["view"] in {"timeSeries", "singleValue"}
        assert graph["period"] % 60 == 0


def test_the_dashboard_shows_every_alarm(stack: Stack, dashboard: dict[str, Any]) -> None:
    (shown,) = [w["properties"]["alarms"] for w in dashboard["widgets"] if w["type"] == "alarm"]
    names = [alarm["AlarmName"] for alarm in stack.of_type("AWS::CloudWatch::Alarm").values()]
    assert sorted(arn.rpartition(":")[2] for arn in shown) == sorted(names)


def test_every_metric_of_the_catalogue_is_seen_somewhere(dashboard: dict[str, Any]) -> None:
    graphs = [w["properties"].get("metrics", []) for w in dashboard["widgets"]]
    seen = {row[1] for rows in graphs for row in rows if row[0] == telemetry.NAMESPACE}
    assert seen == set(telemetry.METRICS)


def test_every_query_reads_lines_that_are_written(stack: Stack, dashboard: dict[str, Any]) -> None:
    saved = [q["QueryString"] for q in stack.of_type("AWS::Logs::QueryDefinition").values()]
    shown = [w["properties"]["query"] for w in dashboard["widgets"] if w["type"] == "log"]
    for query in saved + [re.sub(r"^SOURCE '[^']*' \|", "", text) for text in shown]:
        names = set(re.findall(r'"(\w+)"', "".join(re.findall(r"message (?:=|in) .*", query))))
        assert names <= set(telemetry.EVENTS)
        events = [telemetry.EVENTS[name] for name in names] or list(telemetry.EVENTS.values())
        assert _fields(query) <= set().union(*(event.fields for event in events)), query


def _fields(query: str) -> set[str]:
    """Fields of ours in a query, without strings, Lambda's own (@), and its own new names."""
    bare = re.sub(r'"[^"]*"|@\w+', "", query)
    aliases = set(re.findall(r"\bas (\w+)", bare))
    return set(re.findall(r"\b[a-z_]\w*", bare)) - aliases - INSIGHTS_WORDS


# --- building


def test_everything_built_by_a_makefile_has_its_target() -> None:
    makefiles = {
        "AWS::Serverless::Function": PROJECT / "src/Makefile",
        "AWS::Serverless::LayerVersion": PROJECT / "layers/dependencies/Makefile",
    }
    for logical_id, resource in written()["Resources"].items():
        if resource.get("Metadata", {}).get("BuildMethod") == "makefile":
            targets = re.findall(
                r"^(build-[\w -]+):", makefiles[resource["Type"]].read_text(), re.M
            )
            assert f"build-{logical_id}" in " ".join(targets).split()


def test_the_layer_is_built_for_the_architecture_that_is_deployed() -> None:
    makefile = (PROJECT / "layers/dependencies/Makefile").read_text()
    default = written()["Parameters"]["Architecture"]["Default"]
    assert f"\nARCHITECTURE ?= {default}\n" in makefile


def test_a_changed_parameter_changes_the_code_so_that_a_version_is_published(
    tmp_path: Path,
) -> None:
    (tmp_path / "src/memolist_tts").mkdir(parents=True)
    (tmp_path / "src/memolist_tts/__init__.py").touch()
    (tmp_path / "src/Makefile").write_text((PROJECT / "src/Makefile").read_text())
    before = _built(tmp_path, parameters="MaxInFlight=32")
    assert _built(tmp_path, parameters="MaxInFlight=32") == before
    assert _built(tmp_path, parameters="MaxInFlight=16") != before


def _built(project: Path, parameters: str) -> dict[str, bytes]:
    (project / "samconfig.toml").write_text(parameters)
    artefact = project / "artefact"
    artefact.mkdir(exist_ok=True)
    subprocess.run(
        [
            "make",
            "build-SynthesizeFunction",
            f"ARTIFACTS_DIR={artefact}",
            f"PYTHON={sys.executable}",
        ],
        cwd=project / "src",
        check=True,
        capture_output=True,
    )
    return {p.name: p.read_bytes() for p in artefact.rglob("*") if p.is_file()}


def test_the_layer_is_locked_with_hashes_and_names_no_index() -> None:
    for name in ("requirements", "requirements-build"):
        folder = PROJECT / "layers/dependencies"
        locked = re.sub(r"#.*", "", (folder / f"{name}.txt").read_text()).replace("\\\n", " ")
        entries = [line for line in locked.splitlines() if line.strip()]
        assert all(
            re.match(r"[\w.-]+==[\w.]+( +--hash=sha256:[0-9a-f]{64})+ *$", e) for e in entries
        )
        wanted = re.findall(r"^([\w-]+)", (folder / f"{name}.in").read_text(), re.M)
        assert set(wanted) <= {entry.split("==")[0] for entry in entries}


def test_the_layer_leaves_to_the_runtime_what_is_the_runtimes() -> None:
    locked = (PROJECT / "layers/dependencies/requirements.txt").read_text()
    assert not re.findall(r"^(boto3|botocore|s3transfer|urllib3)==", locked, re.M)
    # botocore asks for less than 3, and the layer comes first in sys.path.
    assert re.search(r"^python-dateutil==2\.", locked, re.M)


@pytest.mark.parametrize("policy", ["QueuePolicy", "DeadLetterQueuePolicy"])
def test_a_queue_policy_speaks_of_its_own_queue_alone(stack: Stack, policy: str) -> None:
    properties = stack.resources[policy]["Properties"]
    (queue,) = properties["Queues"]
    for statement in properties["PolicyDocument"]["Statement"]:
        assert isinstance(statement["Resource"], str)
        assert policy.removesuffix("Policy") in f"{queue} {statement['Resource']}"


def test_the_variables_for_sam_local_are_declared_and_taken(stack: Stack) -> None:
    overlay = json.loads((Path(__file__).parents[2] / "env.local.json").read_text())
    needs = {
        "SynthesizeFunction": Needs.WORKER | Needs.QUEUE,
        "SweepFunction": Needs.DATABASE | Needs.QUEUE,
        "CanaryFunction": Needs.DATABASE | Needs.SPEECH,
    }
    for name, function in functions(stack).items():
        declared = _environment(function)
        assert set(overlay[name]) <= set(declared)
        Settings.load(needs[name], declared | overlay[name])


WIDGET_KEYS = {
    "metric": {
        "title", "view", "region", "stat", "period", "metrics", "stacked", "yAxis", "annotations",
        "legend", "setPeriodToTimeRange", "sparkline", "singleValueFullPrecision", "liveData",
    },
    "alarm": {"title", "alarms", "sortBy", "states"},
    "text": {"markdown", "background"},
    "log": {"title", "view", "region", "query"},
}  # fmt: skip


def test_a_widget_has_only_keys_that_cloudwatch_knows(dashboard: dict[str, Any]) -> None:
    for widget in dashboard["widgets"]:
        assert set(widget) == {"type", "x", "y", "width", "height", "properties"}
        assert set(widget["properties"]) <= WIDGET_KEYS[widget["type"]]
