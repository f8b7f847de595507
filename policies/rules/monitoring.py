"""Family `monitoring`: each service is scraped or probed, and alerts reach somebody.

Prometheus is the service whose init container writes a prometheus.yml, of the shape that the program generates
(policies/rules/formats.py). A file whose content only an update will know is checked then. Not seen from here:
whether a port is the right one, and whether an alert notices what ails an app.
"""

from collections.abc import Iterator
from typing import Final

from pulumi_policy import Severity

from policies.rules.configuration import UnreadableError, files
from policies.rules.containers import items, table
from policies.rules.formats import Document, read
from policies.rules.props import UNKNOWN
from policies.rules.rule import REASON, Config, Finding, Resource, Stack, stack_rule, table_setting
from policies.rules.services import Configured, Service, configured, host, lacking, services


def _servers(stack: Stack) -> Iterator[tuple[Configured, Service, Document]]:
    for one in configured(stack, "prometheus.yml"):
        if one.service is not None and (given := read(one.file)) is not None:
            yield one, one.service, given


def _prober(job: Document) -> str:
    """The service that asks a job's targets, where it is not Prometheus itself."""
    found = [one for one in job.get("relabel_configs", ()) if one["target_label"] == "__address__"]
    return host(found[-1].get("replacement", "")) if found else ""


@stack_rule(
    "every-service-is-scraped",
    Severity.MEDIUM,
    settings={
        "unscraped": table_setting("Services neither scraped nor probed, by name, each with the reason.", REASON)
    },
)
def _scraped(stack: Stack, config: Config) -> Iterator[Finding]:
    """Each service is scraped by Prometheus or probed for it, or says why not; and each target is a service. What
    nobody watches fails unseen.

    Give the service `metrics` or a `probe`, or a line that says why not under
    settings.every-service-is-scraped.unscraped in policies/config.yaml.
    """
    running = services(stack)
    if whole := lacking(stack, "prometheus.yml"):
        problem = "is not watched: no init container writes a prometheus.yml"
        advice = "Make the scrape targets from the services, as components/monitoring.py does"
        yield Finding((), problem, advice, resource=whole)
    for one, server, given in _servers(stack):
        covered: set[str] = set()
        words = items(server.resource.props.get("command"))
        if UNKNOWN not in words and f"--config.file={one.file.name}" not in words:
            problem = "does not start with the file of targets that its init container writes"
            yield Finding(("command",), problem, "Name it by --config.file", resource=server.resource)
        for number, job in enumerate(given["scrape_configs"]):
            asker = running.get(_prober(job)) if _prober(job) else server
            for index, group in enumerate(job["static_configs"]):
                place = (*one.file.path, "scrape_configs", number, "static_configs", index, "targets")
                for at, target in enumerate(group["targets"]):
                    found = server if host(target) == "localhost" else running.get(host(target))
                    label = group.get("labels", {}).get("service", "")
                    problem, advice = "", "Make targets from the services"
                    if found is None or (label and label not in running):
                        problem = "names a target, or a service, that is none of this stack"
                    elif asker is None:
                        problem, advice = "is asked by what is no service of this stack", "Name the prober"
                    elif asker is not found and not asker.meets(found):
                        problem = "names a target that shares no network with what asks it"
                        advice = "Put both on one network (components/networks.py)"
                    else:
                        covered.add(label or found.name)
                    if problem:
                        yield Finding((*place, at), problem, advice, resource=one.resource)
        for service in running.values():
            if service.name not in covered.union(table(config.get("unscraped"))):
                problem = "is neither scraped nor probed: nobody is told when it fails"
                yield Finding(("name",), problem, resource=service.resource)


@stack_rule("alerts-reach-alertmanager", Severity.MEDIUM)
def _alerts(stack: Stack, _config: Config) -> Iterator[Finding]:
    """Prometheus has alert rules and tells the stack's Alertmanager what they find: else nobody hears of it.

    Name the file of the alert rules under rule_files, and the Alertmanager of the stack under alerting.alertmanagers.
    """
    running = services(stack)
    for one, server, given in _servers(stack):
        targets = [
            running.get(host(target))
            for manager in given["alerting"]["alertmanagers"]
            for group in manager["static_configs"]
            for target in group["targets"]
        ]
        if not targets or not all(found is not None and server.meets(found) for found in targets):
            problem = "tells no Alertmanager of this stack, or one that it cannot reach"
            yield Finding((*one.file.path, "alerting"), problem, resource=one.resource)
        if not given["rule_files"] or not all(_has_alerts(one.resource, name) for name in given["rule_files"]):
            problem = "names no file of alerts that comes with it"
            yield Finding((*one.file.path, "rule_files"), problem, resource=one.resource)


def _has_alerts(resource: Resource, name: str) -> bool:
    """Whether an init container writes that file, with alerts in it."""
    for file in files(resource):
        try:
            document = file.document() if file.name == name else None
        except UnreadableError:
            continue
        groups = [table(group) for group in items(table(document).get("groups"))]
        rules = [table(rule) for group in groups for rule in items(group.get("rules"))]
        if document is UNKNOWN or (rules and all(rule.get("alert") and rule.get("expr") for rule in rules)):
            return True
    return False


RULES: Final = (_scraped, _alerts)
