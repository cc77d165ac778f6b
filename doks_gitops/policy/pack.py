"""The rules as Pulumi's policies: https://www.pulumi.com/docs/insights/policy/"""

from collections.abc import Callable

from pulumi import Config
from pulumi_policy import (
    EnforcementLevel,
    PolicyConfigSchema,
    ReportViolation,
    ResourceValidationArgs,
    ResourceValidationPolicy,
)
from pulumi_policy.proxy import UnknownValueError

from doks_gitops.policy.rules import ENVIRONMENT, RULES, Resource, Rule, unknown

NAME = "doks-gitops"


def _validation(rule: Rule) -> Callable[[ResourceValidationArgs, ReportViolation], None]:
    project, _, name = ENVIRONMENT.partition(":")

    def validate(args: ResourceValidationArgs, report: ReportViolation) -> None:
        if args.resource_type in rule.types:
            resource = Resource(
                args.urn,
                args.resource_type,
                args.props,
                protect=args.opts.protect,
                config=args.get_config(),
                environment=Config(project).get(name),
            )
            try:
                violations = list(rule.violations(resource))
            except UnknownValueError as error:
                # The engine only advises then, whatever the rule's level is.
                violations = [unknown(error.message)]
            for violation in violations:
                report(violation, None)

    return validate


def _policy(rule: Rule) -> ResourceValidationPolicy:
    return ResourceValidationPolicy(
        name=rule.name,
        description=rule.description,
        validate=_validation(rule),
        enforcement_level=(
            EnforcementLevel.MANDATORY if rule.mandatory else EnforcementLevel.ADVISORY
        ),
        config_schema=PolicyConfigSchema({key: dict(schema) for key, schema in rule.config.items()})
        if rule.config
        else None,
    )


POLICIES = tuple(_policy(rule) for rule in RULES)
