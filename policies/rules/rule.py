"""What a rule is: its metadata, its check, and how it becomes one of the engine's policies.

A rule checks plain data (`props`) and yields findings; what is an exemption to it is decided here, the same way for
every rule. What one rule forbids does not belong here.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field, replace
from fnmatch import fnmatchcase
from functools import partial
from typing import Any, Final, TypeVar

from pulumi_policy import (
    EnforcementLevel,
    Policy,
    PolicyConfigSchema,
    PolicyResource,
    PolicyResourceOptions,
    ReportViolation,
    ResourceValidationArgs,
    ResourceValidationPolicy,
    Severity,
    StackValidationArgs,
    StackValidationPolicy,
)

from policies.rules import exemptions
from policies.rules.containers import table, texts
from policies.rules.exemptions import Exemption
from policies.rules.props import Path, Value, plain, show

DOCKER: Final = ("docker:",)
"""Types that begin so are the docker provider's resources."""

DEVELOPMENT: Final = "development-stacks"
"""The setting of a rule that is for staging and production alone; its value is that of policies/config.yaml: names of
stacks, where `*` stands for any characters."""

EXEMPT: Final = "exempt"
"""The setting of the rule that looks after exemptions for one image: those of policies/config.yaml."""

REVIEWS: Final = "reviews"
"""The setting of the rule that looks after the days of exemptions: those of policies/config.yaml."""

H = TypeVar("H", "Resource", "Stack")
T = TypeVar("T")

Config = Mapping[str, Value]
"""A rule's own configuration, as the engine hands it over."""

Schema = dict[str, Any]
"""The JSON schema of a setting."""

TEXT: Final[Schema] = {"type": "string"}
REASON: Final[Schema] = {"type": "string", "minLength": 10}
TEXTS: Final[Schema] = {"type": "array", "items": TEXT}


def texts_setting(description: str, default: Sequence[str] = ()) -> Schema:
    """The schema of a setting that is a list of texts."""
    return {**TEXTS, "default": list(default), "description": description}


def table_setting(description: str, members: Schema = TEXT) -> Schema:
    """The schema of a setting that is an object."""
    return {"type": "object", "additionalProperties": members, "default": {}, "description": description}


def fits(name: str, patterns: Value) -> bool:
    """Whether a name fits one of a list's patterns, in which `*` stands for any characters."""
    return any(fnmatchcase(name, one) for one in texts(patterns))


def in_development(stack: str, config: Config) -> bool:
    """Whether a rule's configuration counts the stack of that name among those of development."""
    return fits(stack, config.get(DEVELOPMENT))


@dataclass(frozen=True, kw_only=True)
class Resource:
    """One resource of a stack. `name` is the logical name, `stack` the stack's."""

    type: str
    name: str
    stack: str
    props: dict[str, Value]
    urn: str = ""
    protect: bool = False
    sources: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """Of each property, the logical names of the resources it is made from, where that is told."""

    @property
    def kind(self) -> str:
        """The last part of the type, such as Container."""
        return self.type.rpartition(":")[2]


@dataclass(frozen=True, kw_only=True)
class Stack:
    """Every resource of a stack, providers and components included."""

    name: str
    resources: tuple[Resource, ...]

    def of(self, kind: str) -> tuple[Resource, ...]:
        """The docker provider's resources of one kind, such as Container."""
        return tuple(one for one in self.resources if one.type.startswith(DOCKER) and one.kind == kind)


def once(find: Callable[[H], Iterable[T]]) -> Callable[[H], tuple[T, ...]]:
    """What `find` finds in a resource or a stack, which never change, is looked for once however many rules ask."""

    def found(holder: H) -> tuple[T, ...]:
        known: dict[object, tuple[T, ...]] = holder.__dict__.setdefault("_found", {})
        if find not in known:
            known[find] = tuple(find(holder))
        return known[find]

    return found


@dataclass(frozen=True)
class Finding:
    """One violation: where, what is wrong and what to do, which is the rule's remediation where it is not given. No
    text may hold a value of the resource.

    `value` is never printed: it is what an exemption may be narrowed to, such as a capability.
    `exemptible` is False for what no exemption may let pass. `resource` is for stack rules: the one to name.
    """

    path: Path
    problem: str
    advice: str = ""
    _: KW_ONLY
    note: str = ""
    value: str = ""
    exemptible: bool = True
    resource: Resource | None = None


@dataclass(frozen=True, kw_only=True)
class Result:
    """A finding of a rule, and the exemption that speaks about it, if any."""

    rule: str
    resource: Resource | None
    finding: Finding
    exemption: Exemption | None

    @property
    def refused(self) -> bool:
        """Whether it is a violation."""
        return self.exemption is None or not self.finding.exemptible

    @property
    def message(self) -> str:
        """What the engine prints: resource, property, problem, what to do; never a value."""
        finding = self.finding
        place = show(finding.path) + (f" ({finding.note})" if finding.note else "")
        where = [f"{self.resource.name}:"] if self.resource and self.resource.name else []
        text = " ".join([*where, *([place] if place else []), f"{finding.problem}. {finding.advice}"])
        return text if self.exemption is None else f"{text}. No exemption may allow this"


ResourceValidation = Callable[[Resource, Config], Iterable[Finding]]
StackValidation = Callable[[Stack, Config], Iterable[Finding]]


@dataclass(frozen=True, kw_only=True)
class Rule:
    """One rule. Exactly one of `validate` (a resource by itself) and `validate_stack` (all of them together) is
    given.

    `types` are the prefixes of the types that `validate` sees. `settings` is the JSON schema of each key of the
    rule's own configuration, with a default. `benchmarks` are the items of public benchmarks that the rule covers:
    `CIS 5.10`, of the CIS Docker Benchmark 1.7, and `OWASP 3`, of OWASP's Docker Security Cheat Sheet.
    """

    name: str
    description: str
    remediation: str
    severity: Severity
    validate: ResourceValidation | None = None
    validate_stack: StackValidation | None = None
    types: tuple[str, ...] = DOCKER
    settings: Mapping[str, Schema] = field(default_factory=dict)
    benchmarks: tuple[str, ...] = ()
    level: EnforcementLevel = EnforcementLevel.MANDATORY

    @property
    def url(self) -> str:
        """Where the rule is explained, in the repository."""
        return f"docs/policies.md#{self.name}"

    @property
    def schema(self) -> PolicyConfigSchema:
        """The schema of the rule's whole configuration."""
        return PolicyConfigSchema(properties={**self.settings, "exemptions": exemptions.SCHEMA})

    def results(self, stack: Stack, config: Config) -> Iterator[Result]:
        """What the rule says of a whole stack, the exempt included, each place once."""
        allowed = exemptions.exemptions(config)
        defaults = {key: plain(schema.get("default")) for key, schema in self.settings.items()}
        told: set[tuple[str, Path]] = set()
        for resource, finding in self._findings(stack, {**defaults, **config}):
            key = (resource.urn or resource.name if resource else "", finding.path)
            if key not in told:
                told.add(key)
                said = finding if finding.advice else replace(finding, advice=self.remediation.removesuffix("."))
                exemption = _longest(allowed, resource, finding)
                yield Result(rule=self.name, resource=resource, finding=said, exemption=exemption)

    def _findings(self, stack: Stack, config: Config) -> Iterator[tuple[Resource | None, Finding]]:
        for resource in stack.resources if self.validate else ():
            if self.validate and resource.type.startswith(self.types):
                yield from ((resource, one) for one in self.validate(resource, config))
        if self.validate_stack:
            yield from ((one.resource, one) for one in self.validate_stack(stack, config))

    def policy(self) -> Policy:
        """The rule as the engine's policy."""
        about: dict[str, Any] = {"severity": self.severity, "remediation_steps": self.remediation, "url": self.url}
        given = (self.level, self.schema)
        if self.validate is None:
            return StackValidationPolicy(self.name, self.description, self._report_stack, *given, **about)
        return ResourceValidationPolicy(self.name, self.description, self._report, *given, **about)

    def _report(self, args: ResourceValidationArgs, report: ReportViolation) -> None:
        resource = from_engine(args.resource_type, args.name, args.urn, args.props, args.opts)
        for result in self._refused(args, resource):
            report(result.message, None)

    def _report_stack(self, args: StackValidationArgs, report: ReportViolation) -> None:
        resources = (
            from_engine(one.resource_type, one.name, one.urn, one.props, one.opts, one.property_dependencies)
            for one in args.resources
        )
        for result in self._refused(args, *resources):
            report(result.message, result.resource.urn if result.resource else None)

    def _refused(self, args: ResourceValidationArgs | StackValidationArgs, *resources: Resource) -> Iterator[Result]:
        name = next((one.stack for one in resources if one.stack), "")
        results = self.results(Stack(name=name, resources=resources), table(plain(args.get_config())))
        return (result for result in results if result.refused)


def rule(
    name: str,
    severity: Severity,
    benchmarks: str = "",
    *,
    settings: Mapping[str, Schema] | None = None,
    types: tuple[str, ...] = DOCKER,
) -> Callable[[ResourceValidation], Rule]:
    """Makes a check of single resources a rule, which its docstring describes: what holds, an empty line, and what to
    do where it does not."""
    return lambda check: replace(
        _described(check, name, severity, benchmarks, settings or {}), validate=check, types=types
    )


container_rule: Final = partial(rule, types=("docker:index/container:Container",))
network_rule: Final = partial(rule, types=("docker:index/network:Network",))


def stack_rule(
    name: str,
    severity: Severity,
    benchmarks: str = "",
    *,
    settings: Mapping[str, Schema] | None = None,
    level: EnforcementLevel = EnforcementLevel.MANDATORY,
) -> Callable[[StackValidation], Rule]:
    """The same of a check of the whole stack."""
    return lambda check: replace(
        _described(check, name, severity, benchmarks, settings or {}), validate_stack=check, level=level
    )


def _described(
    check: Callable[..., object], name: str, severity: Severity, benchmarks: str, settings: Mapping[str, Schema]
) -> Rule:
    description, remediation = (" ".join(part.split()) for part in (check.__doc__ or "").split("\n\n"))
    return Rule(
        name=name,
        description=description,
        remediation=remediation,
        severity=severity,
        settings=settings,
        benchmarks=tuple(benchmarks.split(", ")) if benchmarks else (),
    )


def _longest(allowed: Sequence[Exemption], resource: Resource | None, finding: Finding) -> Exemption | None:
    """The exemption about this place whose review is the last to come."""
    if resource is None:
        return None
    found = [one for one in allowed if one.covers(resource.name, resource.props, finding.path, finding.value)]
    return max(found, key=lambda one: one.until, default=None)


def from_engine(
    kind: str,
    name: str,
    urn: str,
    props: object,
    opts: PolicyResourceOptions | None,
    sources: Mapping[str, Sequence[PolicyResource]] | None = None,
) -> Resource:
    """A resource as rules check it, from what the SDK hands to a policy."""
    parts = urn.split(":")
    return Resource(
        type=kind,
        name=name,
        stack=parts[2] if len(parts) > 2 else "",
        props=dict(table(plain(props))),
        urn=urn,
        protect=bool(opts.protect) if opts else False,
        sources={key: frozenset(one.name for one in found) for key, found in (sources or {}).items()},
    )
