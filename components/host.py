"""Serves the components by a schema that is made of their own dataclasses.

Pulumi's component host reads arguments from annotations, but it has TypedDicts in mind: of a
dataclass it does not know that a field with a default may be left out, and it would hand a dict to
the component. Both are mended here, with the rest left to it.
"""

import inspect
import json
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from typing import Any

import pulumi
from pulumi.errors import InputPropertiesError
from pulumi.provider.experimental.analyzer import (
    ComponentDefinition,
    PropertyDefinition,
    PropertyType,
    TypeDefinition,
)
from pulumi.provider.experimental.component import ComponentProvider
from pulumi.provider.experimental.schema import generate_schema

from components.application import GitOpsApplication
from components.argocd import ArgoCd
from components.cluster import DoksCluster
from components.github import GitHubDelivery
from components.project import GitOpsProject
from components.registry import ContainerRegistry

NAME = "doks-gitops"
"""The package, as the components name it in their types."""
VERSION = "1.0.0"
COMPONENTS: list[type[pulumi.ComponentResource]] = [
    ContainerRegistry,
    DoksCluster,
    ArgoCd,
    GitOpsProject,
    GitOpsApplication,
    GitHubDelivery,
]


class Components(ComponentProvider):
    """The provider of the package."""

    def __init__(self) -> None:
        super().__init__(COMPONENTS, NAME, version=VERSION)
        for each in self._component_defs.values():
            _describe(each, each.inputs, each.outputs)
            _leave_out_defaults(self._arguments(each), each.inputs, each.inputs_mapping)
        for kind in self._type_defs.values():
            _describe(kind, kind.properties)
            _leave_out_defaults(kind.python_type, kind.properties, kind.properties_mapping)
        schema = generate_schema(
            NAME, VERSION, None, self._component_defs, self._type_defs, self._dependencies
        )
        self.schema = json.dumps(schema.to_json())

    def map_inputs(self, inputs: Any, component_def: ComponentDefinition) -> Any:
        """The component's arguments, in place of a dict of them.

        Raises InputPropertiesError, which the engine shows, for what they can't be made of.
        """
        return self._make(
            self._arguments(component_def),
            component_def.inputs,
            component_def.inputs_mapping,
            inputs,
            at="",
        )

    def _arguments(self, component: ComponentDefinition) -> type:
        arguments: type = inspect.get_annotations(self._components[component.name].__init__)["args"]
        return arguments

    def _make(
        self,
        kind: type,
        properties: Mapping[str, PropertyDefinition],
        names: Mapping[str, str],
        given: Any,
        *,
        at: str,
    ) -> Any:
        values = {}
        for name, definition in properties.items():
            where = f"{at}.{name}" if at else name
            if (value := given.get(name)) is not None:
                values[names[name]] = self._value(definition, value, where)
            elif not definition.optional:
                raise _refused(where, "it is missing")
        try:
            return kind(**values)
        except ValueError as error:
            raise _refused(at, str(error)) from error

    def _value(self, definition: PropertyDefinition, value: Any, where: str) -> Any:
        kind = self.get_type_definition(definition) if definition.ref is not None else None
        if definition.ref is not None and kind is None:
            return value
        if isinstance(value, pulumi.Output):
            if definition.plain:
                raise _refused(
                    where, "it must be known at once, not be an output of another resource"
                )
            return value
        if kind is not None:
            return self._make(
                kind.python_type, kind.properties, kind.properties_mapping, value, at=where
            )
        if definition.items is not None:
            return tuple(
                self._value(definition.items, each, f"{where}[{index}]")
                for index, each in enumerate(value)
            )
        if definition.additional_properties is not None:
            return {
                key: self._value(definition.additional_properties, each, f"{where}.{key}")
                for key, each in value.items()
            }
        # Pulumi's values have no whole numbers.
        return int(value) if definition.type is PropertyType.INTEGER else value


def _refused(where: str, why: str) -> InputPropertiesError:
    # Told which property it is, the engine would show its value, and secrets in clear.
    return InputPropertiesError(f"{where}: {why}" if where else why, errors=[])


def _describe(
    whole: ComponentDefinition | TypeDefinition, *parts: Mapping[str, PropertyDefinition]
) -> None:
    """Take the indentation of the source out of what the docstrings say."""
    for each in (whole, *(definition for part in parts for definition in part.values())):
        each.description = inspect.cleandoc(each.description) if each.description else None


def _leave_out_defaults(
    kind: type, properties: Mapping[str, PropertyDefinition], names: Mapping[str, str]
) -> None:
    assert is_dataclass(kind)
    defaulted = {
        each.name
        for each in fields(kind)
        if (each.default, each.default_factory) != (MISSING, MISSING)
    }
    for name, definition in properties.items():
        definition.optional = definition.optional or names[name] in defaulted
