"""The github plugin: its resources, its lookups, its configuration."""

from collections.abc import Callable

from sandbox.plugins.bridge.provider import BridgedProvider
from sandbox.plugins.bridge.schema import Properties
from sandbox.plugins.github.actions import (
    ActionsEnvironmentSecret,
    ActionsEnvironmentVariable,
    ActionsSecret,
    ActionsVariable,
)
from sandbox.plugins.github.api import Api
from sandbox.plugins.github.configuration import Configuration
from sandbox.plugins.github.deploy_key import DeployKey
from sandbox.plugins.github.environment import Environment
from sandbox.plugins.github.functions import FUNCTIONS
from sandbox.plugins.github.ruleset import Ruleset
from sandbox.plugins.github.webhook import Webhook


class GitHubProvider(BridgedProvider[Api]):
    """One configured provider. `make_api` makes the API from its configuration."""

    name = "github"
    configuration = Configuration

    def __init__(self, make_api: Callable[[Configuration], Api] = Api) -> None:
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
        delete_first = (DeployKey.type, ActionsEnvironmentSecret.type)
        super().__init__(resources, FUNCTIONS, delete_first=delete_first)
        self._make_api = make_api

    async def connect(self, settings: Properties) -> Api:
        api = self._make_api(Configuration.parse(settings))
        await api.connect()
        return api
