"""The digitalocean plugin: its resources, its configuration."""

from collections.abc import Callable

from sandbox.plugins.bridge.provider import BridgedProvider
from sandbox.plugins.bridge.schema import Properties
from sandbox.plugins.digitalocean.api import Api
from sandbox.plugins.digitalocean.cluster import KubernetesCluster
from sandbox.plugins.digitalocean.configuration import Configuration
from sandbox.plugins.digitalocean.container_registry import ContainerRegistry
from sandbox.plugins.digitalocean.node_pool import KubernetesNodePool
from sandbox.plugins.digitalocean.vpc import Vpc


class DigitalOceanProvider(BridgedProvider[Api]):
    """One configured provider. `make_api` makes the API from its configuration."""

    name = "digitalocean"
    configuration = Configuration

    def __init__(self, make_api: Callable[[Configuration], Api] = Api) -> None:
        resources = (KubernetesCluster(), KubernetesNodePool(), ContainerRegistry(), Vpc())
        super().__init__(resources)
        self._make_api = make_api

    async def connect(self, settings: Properties) -> Api:
        return self._make_api(Configuration.parse(settings))
