"""The cluster and the account of a stack, for the commands about its volumes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from doks_gitops import kubernetes
from doks_gitops.account import DigitalOceanClient, RunningCluster, Volume, VolumeSnapshot
from doks_gitops.account.marks import beginning, mark_in, same_stack
from doks_gitops.environments import short_name
from doks_gitops.errors import PlatformError
from doks_gitops.settings import Settings, stackfile
from doks_gitops.settings.errors import stack_file
from doks_gitops.settings.load import ENVIRONMENT_VARIABLES
from doks_gitops.settings.model import NAMESPACE, Cluster, Volumes
from doks_gitops.settings.offline import sections
from doks_gitops.variables import first_set
from doks_gitops.volumes import cluster as volumes_cluster
from doks_gitops.volumes.record import Recorded, record
from doks_gitops.volumes.tags import claims_in


class VolumesError(PlatformError):
    """The volumes of a stack can't be read or changed."""


@dataclass(frozen=True)
class StackVolumes:
    """The volumes of one stack, whose cluster may be gone."""

    stack: str
    cluster: Cluster
    settings: Volumes
    client: DigitalOceanClient
    cluster_token: str

    def owns(self, resource: Volume | VolumeSnapshot) -> bool:
        """Whether a state of this stack has recorded it."""
        return self._is_own(mark_in(resource.tags))

    def recorded(self) -> list[Volume]:
        """The volumes that the state of the stack's cluster has recorded for claims; without a
        cluster, those of the only state of the stack that has recorded some. Raises `VolumesError`
        if that can't be told. Needs the scope kubernetes:read."""
        volumes = [x for x in self.client.volumes() if self.owns(x) and claims_in(x.tags)]
        clusters = self._clusters() if volumes else []
        marks = {x.mark for x in clusters} or {mark_in(volume.tags) for volume in volumes}
        if len(marks) > 1:
            raise self._not_one(clusters)
        return [volume for volume in volumes if mark_in(volume.tags) in marks]

    def running(self) -> RunningCluster:
        """The stack's cluster. Raises `VolumesError`."""
        clusters = self._clusters()
        if len(clusters) == 1 and clusters[0].endpoint:
            return clusters[0]
        raise self._not_one(clusters)

    def _clusters(self) -> list[RunningCluster]:
        return [x for x in self.client.clusters() if self._is_own(x.mark)]

    def _not_one(self, clusters: Sequence[RunningCluster]) -> VolumesError:
        ids = " and ".join(cluster.id for cluster in clusters)
        return VolumesError(
            f"The account has {f'the clusters {ids}' if ids else 'no cluster'} with a tag of the"
            f" stack {self.stack}, and it takes one that runs. Nothing was changed.",
            f"bin/platform recover --stack {self.stack}",
        )

    def _is_own(self, mark: str | None) -> bool:
        own = beginning(NAMESPACE, short_name(self.stack))
        return mark is not None and same_stack(mark, own)

    @contextmanager
    def opened(self, running: RunningCluster) -> Iterator[volumes_cluster.Cluster]:
        """The API of the stack's cluster."""
        authority = self.client.certificate_authority(running.id)
        with kubernetes.connect(
            volumes_cluster.Cluster, running.endpoint, authority, self.cluster_token
        ) as cluster:
            yield cluster

    def record(self, running: RunningCluster | None = None, *, retain: bool = False) -> Recorded:
        """Record the claims of the running cluster. With `retain`, or if the stack file says so,
        their volumes outlive them from now on."""
        running = running or self.running()
        assert running.mark is not None
        default = self.cluster.protect if self.settings.retain is None else self.settings.retain
        with self.opened(running) as cluster:
            return record(self.client, cluster, running.mark, retain=retain or default)


def volumes_section(stack: str, folder: Path) -> tuple[Cluster, Volumes | None]:
    """The sections `cluster` and `volumes` of the stack file. Raises `PlatformError`."""
    path = folder / stack_file(stack)
    try:
        text = stackfile.read(path)
    except (OSError, ValueError) as error:
        raise VolumesError(
            f"{path} can't be read: {error}.", "Run this in the project's folder, or with -C FOLDER"
        ) from None
    result = sections(stack, text, {"cluster": Cluster}, optional={"volumes": Volumes})
    return result["cluster"], result["volumes"]


@contextmanager
def volumes_from_environment(stack: str, folder: Path) -> Iterator[StackVolumes | None]:
    """The volumes of a stack, with the tokens of the environment, so that no state and no
    passphrase is needed. None if the stack file has no `volumes`. Raises `PlatformError`."""
    cluster, settings = volumes_section(stack, folder)
    if settings is None:
        yield None
        return
    variables = ENVIRONMENT_VARIABLES
    with DigitalOceanClient.from_environment() as client:
        token = first_set((*variables["clusterToken"], *variables["token"]))
        assert token is not None, "the client has one"
        yield StackVolumes(stack, cluster, settings, client, token)


@contextmanager
def volumes_from_settings(settings: Settings) -> Iterator[StackVolumes | None]:
    """As `volumes_from_environment`, with the tokens of the stack."""
    if settings.volumes is None:
        yield None
        return
    with DigitalOceanClient.from_settings(settings.digitalocean) as client:
        token = settings.digitalocean.kubernetes_token.get_secret_value()
        yield StackVolumes(settings.stack, settings.cluster, settings.volumes, client, token)
