"""The pack as the engine meets it: it starts from its own folder, and lists and runs its rules over the wire."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import grpc
import pytest
import yaml
from google.protobuf import empty_pb2, struct_pb2
from pulumi.runtime.proto import analyzer_pb2, analyzer_pb2_grpc
from pulumi_policy import EnforcementLevel

from policies.rules import POLICIES
from tests.policies.harness import CONTAINER, UNKNOWN, Json, Props, declared_inputs

ADVISORY: Final = {"backup-set", "exemption-review"}
"""Rules that only warn, everywhere."""
PACK: Final = Path(__file__).resolve().parents[2] / "policies"


@pytest.fixture(scope="module")
def analyzer() -> Iterator[analyzer_pb2_grpc.AnalyzerStub]:
    """The pack, started the way the language host does: a folder, with that folder as working directory."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    process = subprocess.Popen(
        [sys.executable, "-u", "-m", "pulumi.policy", "127.0.0.1:0", str(PACK)],
        cwd=PACK,
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        port = process.stdout.readline().strip()
        assert port.isdigit(), "the pack did not start"
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            stub = analyzer_pb2_grpc.AnalyzerStub(channel)
            # As the engine does: each rule gets what the pack says that it starts with.
            request = analyzer_pb2.ConfigureAnalyzerRequest()
            for name, own in stub.GetAnalyzerInfo(empty_pb2.Empty()).initialConfig.items():
                request.policyConfig[name].CopyFrom(own)
            stub.Configure(request)
            yield stub
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def _analyze(analyzer: analyzer_pb2_grpc.AnalyzerStub, props: Props) -> list[analyzer_pb2.AnalyzeDiagnostic]:
    properties = struct_pb2.Struct()
    properties.update(props)
    request = analyzer_pb2.AnalyzeRequest(
        type=CONTAINER,
        name="sonarr-container",
        urn=f"urn:pulumi:dev::nexus::{CONTAINER}::sonarr-container",
        properties=properties,
    )
    return list(analyzer.Analyze(request).diagnostics)


def test_the_engine_is_told_every_rule(analyzer: analyzer_pb2_grpc.AnalyzerStub) -> None:
    info = analyzer.GetAnalyzerInfo(empty_pb2.Empty())
    assert info.name == "nexus"
    assert [policy.name for policy in info.policies] == [policy.name for policy in POLICIES]
    levels = {policy.name: policy.enforcementLevel for policy in info.policies}
    assert {name for name, level in levels.items() if level != analyzer_pb2.MANDATORY} == ADVISORY
    # The initial configuration counts, and one without a level is advisory on the wire.
    assert {name: given.enforcementLevel for name, given in info.initialConfig.items()} == levels


def test_it_checks_over_the_wire(analyzer: analyzer_pb2_grpc.AnalyzerStub) -> None:
    assert [one.message for one in _analyze(analyzer, declared_inputs("sonarr-container"))] == []
    mounts: Json = [UNKNOWN, {"type": UNKNOWN, "source": "/run", "target": UNKNOWN}]
    broken = declared_inputs("sonarr-container", envs=[UNKNOWN, "PASSWORD=hunter2"], mounts=mounts, labels=UNKNOWN)
    found = _analyze(analyzer, broken)
    assert {one.policyName for one in found} == {"known-environment", "no-engine-socket", "no-literal-secret"}
    assert all(one.enforcementLevel == analyzer_pb2.MANDATORY for one in found)


def test_every_rule_explains_itself() -> None:
    page = (PACK.parent / "docs" / "policies.md").read_text(encoding="utf-8")
    assert re.findall(r"(?m)^## (\S+)$", page) == [policy.name for policy in POLICIES]
    for policy in POLICIES:
        assert re.fullmatch(r"[a-z]+(-[a-z]+)+", policy.name)
        assert len(policy.description) > 40
        assert policy.remediation_steps
        assert policy.severity
        warns = policy.name in ADVISORY
        assert policy.enforcement_level is (EnforcementLevel.ADVISORY if warns else EnforcementLevel.MANDATORY)
        assert policy.url == f"docs/policies.md#{policy.name}"


def test_the_pack_runs_in_the_projects_environment() -> None:
    project = yaml.safe_load((PACK / "PulumiPolicy.yaml").read_text(encoding="utf-8"))
    assert project["runtime"] == {"name": "python", "options": {"virtualenv": "../.venv"}}
    assert {"docs/policies.md", "policies/config.yaml"} <= set(re.findall(r"[\w/]+\.\w+", project["description"]))
