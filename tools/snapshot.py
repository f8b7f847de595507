"""tests/platform.yaml: what each service of the dev stack offers and keeps, as the program declares it.

The tests of the components take their expectations from it, so that another app is a diff to review and no list to be
mended by hand. What does not belong here: who is on which network (policies/matrix.yaml).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

import yaml

from components.arguments import SECRETS
from components.names import LABEL_ROLE, LABEL_SERVICE
from policies.rules.rule import Resource, Stack
from scripts import declared
from scripts.paths import ROOT

STACK: Final = "dev"
_HEAD: Final = f"""\
# What each service of the stack {STACK} offers and keeps. Written by `make docs` from what the program declares; what
# is changed here by hand is lost. The tests take it for what has to be so: a change in it is reviewed as one of them.
# page: the edge's rule, where it sends a visitor, and who asks for a name and password. metrics, probe: what
# Prometheus asks. secrets: files under {SECRETS}. keeps: volumes that only a person deletes.
"""


def platform() -> str:
    """The file."""
    stack = declared.of_stack(ROOT, STACK, ROOT / f"Pulumi.{STACK}.yaml", quiet=True)
    files = {_label(one, LABEL_SERVICE): dict(_uploads(one)) for one in _of_role(stack, "seed")}
    routes = yaml.safe_load(files["traefik"]["/run/config/routes.yml"])["http"]
    asked = dict(_asked(yaml.safe_load(files["prometheus"]["/run/config/prometheus.yml"])))
    names = sorted(_label(one, LABEL_SERVICE) for one in _of_role(stack, "service"))
    kept: dict[str, list[str]] = {}
    for volume in (one.name.removeprefix("volume-") for one in stack.of("Volume") if one.protect):
        owner = max((name for name in names if volume.startswith(f"{name}-")), key=len, default="")
        kept.setdefault(owner, []).append(volume)
    whole = {name: _service(name, routes, asked, files.get(name, {}), kept.get(name, [])) for name in names}
    return _HEAD + yaml.safe_dump({"services": whole, "shared": kept[""]}, sort_keys=False, width=110)


def _service(
    name: str,
    routes: Mapping[str, Any],
    asked: Mapping[str, Mapping[str, str]],
    files: Mapping[str, str],
    keeps: list[str],
) -> dict[str, object]:
    found: dict[str, object] = {}
    if router := routes["routers"].get(name):
        (server,) = routes["services"][router["service"]]["loadBalancer"]["servers"]
        found["page"] = {
            "rule": router["rule"],
            "leads-to": server["url"],
            "sign-in": "the edge's" if "sign-in" in router["middlewares"] else "its own",
        }
    found |= asked.get(name, {})
    secrets = sorted(file.removeprefix(f"{SECRETS}/") for file in files if file.startswith(f"{SECRETS}/"))
    return found | ({"secrets": secrets} if secrets else {}) | ({"keeps": keeps} if keeps else {})


def _asked(prometheus: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, str]]]:
    for job in prometheus["scrape_configs"]:
        for group in job["static_configs"]:
            (target,) = group["targets"]
            kind = "probe" if job.get("metrics_path") == "/probe" else "metrics"
            yield group.get("labels", {}).get("service", job["job_name"]), {kind: target}


def _of_role(stack: Stack, role: str) -> Iterator[Resource]:
    return (one for one in stack.of("Container") if _label(one, LABEL_ROLE) == role)


def _label(container: Resource, name: str) -> str:
    labels: Any = container.props["labels"]
    return next(str(one["value"]) for one in labels if one["label"] == name)


def _uploads(container: Resource) -> Iterator[tuple[str, str]]:
    uploads: Any = container.props.get("uploads") or []
    return ((str(one["file"]), str(one["content"])) for one in uploads)
