"""The bills of stacks: their stack files, priced by their accounts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from doks_gitops import account
from doks_gitops.costs import bill
from doks_gitops.errors import PlatformError
from doks_gitops.settings import DigitalOcean, Registry, SettingsError
from doks_gitops.settings.load import (
    ENVIRONMENT_VARIABLES,
    broken_file,
    read_all,
)
from doks_gitops.settings.model import NAMESPACE, Cluster, Volumes
from doks_gitops.settings.offline import billable_sections, sections
from doks_gitops.settings.stackfile import StackFile, Storage
from doks_gitops.stack import PulumiError, Stack
from doks_gitops.variables import first_set
from doks_gitops.volumes.stacks import StackVolumes


class CostsError(PlatformError):
    """A token that an estimate needs is missing."""


def bills(stacks: Sequence[str], folder: Path) -> list[bill.Bill]:
    """The bill of each stack, then of the registry of each account.

    `folder`: the project's folder, with the stack files. Raises `PlatformError`.
    """
    stack_bills = []
    prices: dict[tuple[str, str], account.Prices] = {}
    registries: dict[tuple[str, str], str] = {}
    with_copies: set[tuple[str, str]] = set()
    for stack in stacks:
        text = Stack(stack, folder).text()
        content = sections(
            stack, text, {"cluster": Cluster, "registry": Registry}, optional={"volumes": Volumes}
        )
        cluster, volumes = content["cluster"], content["volumes"]
        credentials = _credentials(folder, stack, text)
        if credentials not in prices:
            prices[credentials] = account.read_prices(*credentials)
        registries.setdefault(credentials, content["registry"].name)
        if volumes is not None and volumes.copies is not None:
            with_copies.add(credentials)
        service = StackFile(text).text(f"{NAMESPACE}:argocd", "values", "server", "service", "type")
        exposed = service == "LoadBalancer"
        stack_bills.append(
            bill.of_stack(
                stack,
                cluster,
                prices[credentials],
                exposed=exposed,
                volumes=_volumes(stack, cluster, volumes, credentials),
            )
        )
    return stack_bills + [
        bill.of_account(
            name, _owner(folder, name), prices[credentials], copies=credentials in with_copies
        )
        for credentials, name in registries.items()
    ]


def _volumes(
    stack: str, cluster: Cluster, settings: Volumes | None, credentials: tuple[str, str]
) -> list[bill.Line]:
    """The items of the volumes that are recorded for the stack, if it has `volumes`. Then needs the
    scopes `block_storage:read`, `snapshot:read` and `tag:read` too."""
    if settings is None:
        return []
    with account.DigitalOceanClient(*credentials) as client:
        known = StackVolumes(stack, cluster, settings, client, cluster_token="")
        volumes = [volume for volume in client.volumes() if known.owns(volume)]
        snapshots = [snapshot for snapshot in client.snapshots() if known.owns(snapshot)]
    keep = settings.snapshots.keep if settings.snapshots else None
    if keep is not None and settings.copies is not None:
        # The one that was copied is kept beyond the others.
        keep += 1
    return bill.of_volumes(volumes, snapshots, keep)


def _credentials(folder: Path, stack: str, text: str) -> tuple[str, str]:
    """Token and API address of the stack's account: from the stack file, else the environment."""
    file, values = StackFile(text), {}
    for key, variables in ENVIRONMENT_VARIABLES.items():
        values[key] = file.text(f"digitalocean:{key}") or first_set(variables)
    if file.storage("digitalocean:token") is Storage.ENCRYPTED:
        try:
            values["token"] = Stack(stack, folder).config_value("digitalocean:token")
        except PulumiError as error:
            raise CostsError(
                f"The account's token can't be decrypted: {error.message}", error.fix
            ) from None
    if not values["token"]:
        raise CostsError(
            "Prices come from a DigitalOcean account, and no token is set.",
            "export DIGITALOCEAN_TOKEN=... (scopes sizes:read and registry:read). Without an"
            " account, with the sandbox's prices: bin/sandbox start, then"
            " bin/sandbox run bin/platform costs",
        )
    endpoint = values["apiEndpoint"] or str(DigitalOcean.model_fields["api_endpoint"].default)
    return values["token"], endpoint


def _owner(folder: Path, registry_name: str) -> tuple[str, Registry] | None:
    """The stack whose file creates the registry of that name."""
    for name, text in read_all(folder).items():
        stack = name.split(".", 1)[1].removesuffix(".yaml")
        try:
            file = StackFile(text)
        except ValueError as error:
            raise SettingsError([broken_file(name, error)]) from None
        if file.is_true(f"{NAMESPACE}:registry", "create"):
            _, registry = billable_sections(stack, text)
            if registry.name == registry_name:
                return stack, registry
    return None
