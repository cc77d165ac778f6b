"""Serves the components with a schema of their dataclasses.

Pulumi's component host supports TypedDicts as arguments, but not dataclasses: it takes fields with
defaults for required ones, and passes a dict to the component. This module corrects both.
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
from components.pull_requests import PullRequestEnvironments
from components.registry import ContainerRegistry
from components.sealed_secrets import SealedSecrets

NAME = "doks-gitops"
"""The package's name in the types of the components."""
VERSION = "2.0.0"
COMPONENTS: list[type[pulumi.ComponentResource]] = [
    ContainerRegistry,
    DoksCluster,
    ArgoCd,
    GitOpsProject,
    GitOpsApplication,
    GitHubDelivery,
    PullRequestEnvironments,
    SealedSecrets,
]


class Components(ComponentProvider):
    """The provider of the package."""

    def __init__(self) -> None:
        super().__init__(COMPONENTS, NAME, version=VERSION)
        for component in self._component_defs.values():
            _clean_descriptions(component, component.inputs, component.outputs)
            arguments = self._arguments(component)
            _make_defaults_optional(arguments, component.inputs, component.inputs_mapping)
        for definition in self._type_defs.values():
            _clean_descriptions(definition, definition.properties)
            _make_defaults_optional(
                definition.python_type, definition.properties, definition.properties_mapping
            )
        schema = generate_schema(
            NAME, VERSION, None, self._component_defs, self._type_defs, self._dependencies
        )
        self.schema = json.dumps(schema.to_json())

    def map_inputs(self, inputs: Any, component_def: ComponentDefinition) -> Any:
        """The component's arguments as a dataclass.

        Raises InputPropertiesError for invalid inputs; the engine shows its message.
        """
        return self._dataclass(
            self._arguments(component_def),
            component_def.inputs,
            component_def.inputs_mapping,
            inputs,
            path="",
        )

    def _arguments(self, component: ComponentDefinition) -> type:
        arguments: type = inspect.get_annotations(self._components[component.name].__init__)["args"]
        return arguments

    def _dataclass(
        self,
        dataclass: type,
        properties: Mapping[str, PropertyDefinition],
        names: Mapping[str, str],
        inputs: Any,
        *,
        path: str,
    ) -> Any:
        """A `dataclass` of `inputs`. `names`: its fields by the names of the properties."""
        values = {}
        for name, definition in properties.items():
            property_path = f"{path}.{name}" if path else name
            if (value := inputs.get(name)) is not None:
                values[names[name]] = self._value(definition, value, property_path)
            elif not definition.optional:
                raise _invalid(property_path, "it is missing")
        try:
            return dataclass(**values)
        except ValueError as error:
            raise _invalid(path, str(error)) from error

    def _value(self, definition: PropertyDefinition, value: Any, path: str) -> Any:
        type_def = self.get_type_definition(definition) if definition.ref is not None else None
        if definition.ref is not None and type_def is None:
            return value
        if isinstance(value, pulumi.Output):
            if definition.plain:
                raise _invalid(
                    path, "it must be known at once, not be an output of another resource"
                )
            return value
        if type_def is not None:
            return self._dataclass(
                type_def.python_type,
                type_def.properties,
                type_def.properties_mapping,
                value,
                path=path,
            )
        if definition.items is not None:
            return tuple(
                self._value(definition.items, item, f"{path}[{index}]")
                for index, item in enumerate(value)
            )
        if definition.additional_properties is not None:
            return {
                key: self._value(definition.additional_properties, item, f"{path}.{key}")
                for key, item in value.items()
            }
        # Pulumi passes all numbers as floats.
        return int(value) if definition.type is PropertyType.INTEGER else value


def _invalid(path: str, reason: str) -> InputPropertiesError:
    # With `errors`, the engine would show the values of the properties, even secret ones.
    return InputPropertiesError(f"{path}: {reason}" if path else reason, errors=[])


def _clean_descriptions(
    definition: ComponentDefinition | TypeDefinition, *parts: Mapping[str, PropertyDefinition]
) -> None:
    """Remove the indentation of the source code from the descriptions."""
    for item in (definition, *(value for part in parts for value in part.values())):
        item.description = inspect.cleandoc(item.description) if item.description else None


def _make_defaults_optional(
    dataclass: type, properties: Mapping[str, PropertyDefinition], names: Mapping[str, str]
) -> None:
    assert is_dataclass(dataclass)
    optional = {
        field.name
        for field in fields(dataclass)
        if (field.default, field.default_factory) != (MISSING, MISSING)
    }
    for name, definition in properties.items():
        definition.optional = definition.optional or names[name] in optional
