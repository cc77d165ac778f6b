"""The github plugin: its resources, its lookups, its configuration."""

from collections.abc import Callable

from sandbox.plugins.bridge.provider import BridgedProvider
from sandbox.plugins.bridge.schema import Properties
from sandbox.plugins.github import configuration
from sandbox.plugins.github.actions import (
    ActionsEnvironmentSecret,
    ActionsEnvironmentVariable,
    ActionsSecret,
    ActionsVariable,
)
from sandbox.plugins.github.api import Api
from sandbox.plugins.github.deploy_key import DeployKey
from sandbox.plugins.github.environment import Environment
from sandbox.plugins.github.functions import FUNCTIONS
from sandbox.plugins.github.ruleset import Ruleset
from sandbox.plugins.github.webhook import Webhook


class GitHubProvider(BridgedProvider[Api]):
    """One configured provider. `connect` makes the API from its configuration."""

    name = "github"

    def __init__(self, connect: Callable[[configuration.Configuration], Api] = Api) -> None:
        resources = (
            DeployKey(),
            Webhook(),
            Ruleset(),
            Environment(),
            ActionsSecret(),
            ActionsEnvironmentSecret(),
            ActionsVariable(),
            ActionsEnvironmentVariable(),
        )
        gone_first = (DeployKey.type, ActionsEnvironmentSecret.type)
        super().__init__(resources, FUNCTIONS, gone_first=gone_first)
        self._make_api = connect

    def faults(self, given: Properties, *, name: str) -> list[str]:
        return configuration.faults(given, name=name)

    async def connect(self, given: Properties) -> Api:
        api = self._make_api(configuration.configure(given))
        await api.connect()
        return api
