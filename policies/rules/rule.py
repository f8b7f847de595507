"""What a rule is: its metadata, its check, and how it becomes one of the engine's policies.

A rule checks plain data (`props`) and yields findings; what is an exemption to it is decided here, the same way for
every rule. What one rule forbids does not belong here.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from typing import Any, Final, Self, TypeVar

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

T = TypeVar("T")

Config = Mapping[str, Value]
"""A rule's own configuration, as the engine hands it over."""


def texts_setting(description: str, default: Sequence[str] = ()) -> dict[str, Any]:
    """The JSON schema of a setting that is a list of texts."""
    return {"type": "array", "items": {"type": "string"}, "default": list(default), "description": description}


def in_development(stack: str, config: Config) -> bool:
    """Whether a rule's configuration counts the stack of that name among those of development."""
    given = config.get(DEVELOPMENT)
    patterns = given if isinstance(given, list) else []
    return any(fnmatchcase(stack, one) for one in patterns if isinstance(one, str))


class _Once:
    """What is checked never changes, so what is found in it is looked for once."""

    def once(self, find: Callable[[Self], Iterable[T]]) -> tuple[T, ...]:
        """What `find` finds in this, looked for once however many rules ask."""
        found: dict[object, tuple[T, ...]] = self.__dict__.setdefault("_found", {})
        if find not in found:
            found[find] = tuple(find(self))
        return found[find]


@dataclass(frozen=True, kw_only=True)
class Resource(_Once):
    """One resource of a stack. `name` is the logical name, `stack` the stack's; `parent` is a URN or empty."""

    type: str
    name: str
    stack: str
    props: dict[str, Value]
    urn: str = ""
    parent: str = ""
    protect: bool = False
    sources: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """Of each property, the logical names of the resources it is made from, where that is told."""

    @property
    def kind(self) -> str:
        """The last part of the type, such as Container."""
        return self.type.rpartition(":")[2]


@dataclass(frozen=True, kw_only=True)
class Stack(_Once):
    """Every resource of a stack, providers and components included."""

    name: str
    resources: tuple[Resource, ...]

    def of(self, kind: str) -> tuple[Resource, ...]:
        """The docker provider's resources of one kind, such as Container."""
        return tuple(one for one in self.resources if one.type.startswith(DOCKER) and one.kind == kind)


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One violation: where, what is wrong and what to do. No text may hold a value of the resource.

    `value` is never printed: it is what an exemption may be narrowed to, such as a capability.
    `exemptible` is False for what no exemption may let pass. `resource` is for stack rules: the one to name.
    """

    path: Path
    problem: str
    advice: str
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
    settings: Mapping[str, dict[str, Any]] = field(default_factory=dict)
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
        whole = self._with_defaults(config)
        if self.validate is not None:
            for resource in stack.resources:
                if resource.type.startswith(self.types):
                    yield from self._with_exemptions(self.validate(resource, whole), resource, config)
        if self.validate_stack is not None:
            yield from self._with_exemptions(self.validate_stack(stack, whole), None, config)

    def policy(self) -> Policy:
        """The rule as the engine's policy."""
        if self.validate is None:
            return StackValidationPolicy(
                self.name,
                self.description,
                self._report_stack,
                self.level,
                self.schema,
                severity=self.severity,
                remediation_steps=self.remediation,
                url=self.url,
            )
        return ResourceValidationPolicy(
            self.name,
            self.description,
            self._report,
            self.level,
            self.schema,
            severity=self.severity,
            remediation_steps=self.remediation,
            url=self.url,
        )

    def _report(self, args: ResourceValidationArgs, report: ReportViolation) -> None:
        resource = from_engine(args.resource_type, args.name, args.urn, args.props, args.opts)
        stack = Stack(name=resource.stack, resources=(resource,))
        for result in self.results(stack, _config(args.get_config())):
            if result.refused:
                report(result.message, None)

    def _report_stack(self, args: StackValidationArgs, report: ReportViolation) -> None:
        resources = tuple(_of_stack(one) for one in args.resources)
        name = next((one.stack for one in resources if one.stack), "")
        stack = Stack(name=name, resources=resources)
        for result in self.results(stack, _config(args.get_config())):
            if result.refused:
                report(result.message, result.resource.urn if result.resource else None)

    def _with_defaults(self, config: Config) -> Config:
        defaults = {key: plain(schema.get("default")) for key, schema in self.settings.items()}
        return {**defaults, **config}

    def _with_exemptions(
        self, findings: Iterable[Finding], resource: Resource | None, config: Config
    ) -> Iterator[Result]:
        told: set[tuple[str, Path]] = set()
        for finding in findings:
            about = finding.resource or resource
            key = (about.urn or about.name if about else "", finding.path)
            if key in told:
                continue
            told.add(key)
            yield Result(
                rule=self.name,
                resource=about,
                finding=finding,
                exemption=_longest(exemptions.exemptions(config), about, finding),
            )


def _longest(allowed: Sequence[Exemption], resource: Resource | None, finding: Finding) -> Exemption | None:
    """The exemption about this place whose review is the last to come."""
    if resource is None:
        return None
    found = [one for one in allowed if one.covers(resource.name, resource.props, finding.path, finding.value)]
    return max(found, key=lambda one: one.until, default=None)


def _config(given: object) -> Config:
    config = plain(given)
    return config if isinstance(config, dict) else {}


def from_engine(kind: str, name: str, urn: str, props: object, opts: PolicyResourceOptions | None) -> Resource:
    """A resource as rules check it, from what the SDK hands to a policy."""
    parts = urn.split(":")
    data = plain(props)
    return Resource(
        type=kind,
        name=name,
        stack=parts[2] if len(parts) > 2 else "",
        props=data if isinstance(data, dict) else {},
        urn=urn,
        parent=(opts.parent or "") if opts else "",
        protect=bool(opts.protect) if opts else False,
    )


def _of_stack(one: PolicyResource) -> Resource:
    resource = from_engine(one.resource_type, one.name, one.urn, one.props, one.opts)
    sources = {key: frozenset(source.name for source in found) for key, found in one.property_dependencies.items()}
    return replace(resource, sources=sources)
