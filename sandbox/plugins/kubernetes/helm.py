"""The resource helm.sh/v3:Release: a chart installed by the real helm.

https://www.pulumi.com/registry/packages/kubernetes/api-docs/helm/v3/release/
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import yaml
from pulumi.runtime import rpc
from pulumi.runtime.proto import provider_pb2

from sandbox.plugins.common import (
    UNKNOWN,
    Failure,
    InitFailed,
    Secret,
    diff_kind,
    has_unknown,
    name_of_urn,
    plain,
)
from sandbox.plugins.kubernetes import helm_storage
from sandbox.plugins.kubernetes.diff import changes, detailed, replaces
from sandbox.plugins.kubernetes.helm_cli import ChartSource, Helm, HelmFailed
from sandbox.plugins.kubernetes.helm_storage import Revision
from sandbox.plugins.kubernetes.objects import mark_secrets, parse_id
from sandbox.plugins.kubernetes.resources import Checked, Properties, ReadState, read_unreachable
from sandbox.plugins.kubernetes.session import Session

TYPE: Final = "kubernetes:helm.sh/v3:Release"

_DEFAULT_SECONDS: Final = 300
_SWITCHES: Final = (
    "allowNullValues",
    "atomic",
    "cleanupOnFail",
    "createNamespace",
    "dependencyUpdate",
    "devel",
    "disableCRDHooks",
    "disableOpenapiValidation",
    "disableWebhooks",
    "forceUpdate",
    "lint",
    "recreatePods",
    "renderSubchartNotes",
    "replace",
    "resetValues",
    "reuseValues",
    "skipAwait",
    "skipCrds",
    "takeOwnership",
    "verify",
    "waitForJobs",
)
_TEXTS: Final = ("chart", "description", "keyring", "name", "namespace", "postrender", "version")
_OTHERS: Final = {"values", "valueYamlFiles", "repositoryOpts", "maxHistory", "timeout"}
_SDK_ONLY: Final = {"compat", "resourceNames", "manifest", "status", "checksum"}
"""Keys from the SDK or from old states that do not belong to a release."""
_REFUSED: Final = ("keyring", "lint", "postrender", "recreatePods", "replace", "verify")
_KNOWN: Final = {*_SWITCHES, *_TEXTS, *_OTHERS, *_SDK_ONLY}
_REPOSITORY_OPTIONS: Final = {"repo", "username", "password", "caFile", "certFile", "keyFile"}
_INSTALL_FLAGS: Final = {
    "atomic": "--atomic",
    "cleanupOnFail": "--cleanup-on-fail",
    "createNamespace": "--create-namespace",
    "dependencyUpdate": "--dependency-update",
    "disableOpenapiValidation": "--disable-openapi-validation",
    "forceUpdate": "--force",
    "renderSubchartNotes": "--render-subchart-notes",
    "resetValues": "--reset-values",
    "reuseValues": "--reuse-values",
    "skipCrds": "--skip-crds",
    "takeOwnership": "--take-ownership",
}


class Releases:
    """Helm releases of one configured provider."""

    def __init__(self, session: Session, helm: Helm) -> None:
        self._session = session
        self._helm = helm

    async def check(self, urn: str, olds: Properties, news: Properties) -> Checked:
        """Complete the inputs: a name, the namespace, the chart's exact version.

        If all inputs are known, the chart must exist, so that a preview shows its version.
        """
        failures = [
            (name, f"the stand-in plugin does not know the input {name} of a Release")
            for name in sorted(news.keys() - _KNOWN)
        ]
        failures += [
            (name, f"the stand-in plugin does not offer the input {name} of a Release")
            for name in _REFUSED
            if plain(news.get(name))
        ]
        repository = plain(news.get("repositoryOpts"))
        if isinstance(repository, Mapping):
            failures += [
                ("repositoryOpts", f"the stand-in plugin does not know repositoryOpts.{name}")
                for name in sorted(repository.keys() - _REPOSITORY_OPTIONS)
            ]
        if not plain(news.get("chart")):
            failures.append(("chart", "a Release needs the input chart"))
        inputs = self._complete(urn, olds, news)
        if news.get("allowNullValues"):
            await self._session.engine.warning(
                urn,
                "`allowNullValues` is deprecated and has no effect; null values in Helm chart"
                " values are preserved by default.",
            )
        if not failures and not has_unknown(news):
            try:
                chart = await self._helm.chart(_source(inputs))
                inputs["version"] = str((await self._helm.metadata(chart)).get("version", ""))
            except HelmFailed as error:
                failures.append(
                    ("chart", f"{error}; check the chart name and repository configuration.")
                )
        return Checked(mark_secrets(inputs, news), failures)

    def _complete(self, urn: str, olds: Properties, news: Properties) -> dict[str, Any]:
        explicit = {
            key: value
            for key, value in plain(news).items()
            if key not in _SDK_ONLY and value is not None
        }
        inputs: dict[str, Any] = dict.fromkeys(_SWITCHES, False) | dict.fromkeys(_TEXTS, "")
        inputs |= {"values": {}, "timeout": 0} | explicit
        file_values: dict[str, Any] = {}
        for asset in inputs.pop("valueYamlFiles", None) or ():
            if asset is not UNKNOWN:
                file_values = _merge(file_values, _read_asset(asset))
        inputs["values"] = _merge(file_values, inputs["values"])
        if not inputs["name"]:
            old_name = plain(olds.get("name"))
            inputs["name"] = old_name or self._session.unique(f"{name_of_urn(urn)}-")
        inputs["namespace"] = inputs["namespace"] or self._session.namespace
        if not inputs["skipAwait"] and "timeout" not in explicit:
            inputs["timeout"] = _DEFAULT_SECONDS
        return inputs

    async def diff(
        self, olds: Properties, news: Properties, ignored: Sequence[str]
    ) -> provider_pb2.DiffResponse:
        """Compare the new inputs to the release in the state. What only the old inputs have is
        deleted. Only a change of name or namespace replaces the release."""
        state, new = dict(plain(olds)), dict(plain(news))
        old_inputs = state.pop("__inputs", {})
        if "version" in ignored:
            new["version"] = state.get("version")
        for key in _SDK_ONLY:
            old_inputs.pop(key, None)
        # Compare only keys of the inputs, not those that helm added.
        old = _shape(state, new, old_inputs)
        details = detailed(
            list(changes(old, new)), force_new=["name", "namespace"], ignored=ignored
        )
        return provider_pb2.DiffResponse(
            changes=diff_kind(details),
            replaces=replaces(details),
            diffs=sorted({path.split(".")[0].split("[")[0] for path in details}),
            detailedDiff=details,
            hasDetailedDiff=True,
        )

    async def create(self, urn: str, news: Properties, *, preview: bool) -> tuple[str, Properties]:
        """Install the release and wait for its objects. Returns its id and state.

        Raises InitFailed if helm recorded a failed release, Failure if it recorded none.
        """
        inputs = plain(news)
        if preview:
            return "", _checkpoint(inputs, news, None)
        if self._session.cluster is None:
            raise Failure(
                f"can't create Helm Release with unreachable cluster: {self._session.unreachable}"
            )
        id = f"{inputs['namespace']}/{inputs['name']}"
        existing = await self._latest(inputs)
        if existing is not None and existing.status != "uninstalled":
            raise Failure(f"cannot re-use a name that is still in use: {id}")
        error = await self._install(urn, inputs, existing)
        return id, await self._result(
            news,
            error,
            f'Helm release "{id}" was created, but failed to initialize completely.',
        )

    async def update(self, urn: str, news: Properties, *, preview: bool) -> Properties:
        """Upgrade the release. Returns its state; raises the same errors as `create`."""
        inputs = plain(news)
        if preview:
            return _checkpoint(inputs, news, None)
        if self._session.cluster is None:
            raise Failure(
                f"can't update Helm Release with unreachable cluster: {self._session.unreachable}"
            )
        error = await self._install(urn, inputs, await self._latest(inputs))
        return await self._result(
            news,
            error,
            f'Helm release "{inputs["namespace"]}/{inputs["name"]}" failed to initialize'
            " completely.",
        )

    async def _latest(self, inputs: Properties) -> Revision | None:
        cluster, _ = self._session.reached()
        return await helm_storage.latest(cluster, inputs["namespace"], inputs["name"])

    async def _install(
        self, urn: str, inputs: Mapping[str, Any], existing: Revision | None
    ) -> HelmFailed | None:
        """Install or upgrade. Returns the error if helm failed; raises Failure if it can't start.

        A killed run leaves the release `pending-...` for ever: helm refuses to change it ("another
        operation is in progress"), as in the real plugin.
        """
        first = existing is None or (existing.number == 1 and existing.status == "failed")
        try:
            chart = await self._helm.chart(_source(inputs))
            arguments = [
                "upgrade",
                inputs["name"],
                chart,
                "--install",
                "--namespace",
                inputs["namespace"],
                "--values",
                "-",
                "--timeout",
                f"{inputs['timeout'] or _DEFAULT_SECONDS}s",
                "--history-max",
                str(inputs.get("maxHistory") or 0),
                *(flag for name, flag in _INSTALL_FLAGS.items() if inputs.get(name)),
            ]
            if inputs["disableWebhooks" if first else "disableCRDHooks"]:
                arguments.append("--no-hooks")
            if not inputs["skipAwait"]:
                arguments.append("--wait")
                if inputs["waitForJobs"]:
                    arguments.append("--wait-for-jobs")
            if inputs["description"]:
                arguments += ["--description", inputs["description"]]
            await self._session.engine.status(
                urn, f"helm {'install' if first else 'upgrade'} {inputs['name']}"
            )
            await self._helm.on_cluster(arguments, values=inputs["values"])
        except HelmFailed as error:
            return error
        return None

    async def _result(self, news: Properties, error: HelmFailed | None, summary: str) -> Properties:
        inputs = plain(news)
        revision = await self._latest(inputs)
        id = f"{inputs['namespace']}/{inputs['name']}"
        if revision is None:
            raise Failure(str(error) if error else f"helm left no record of release {id}")
        state = _checkpoint(inputs, news, revision)
        if error is None:
            return state
        message = (
            f"{summary} Use Helm CLI to investigate: failed to become available within allocated"
            f" timeout. Error: Helm Release {id}: {error}"
        )
        raise InitFailed(
            message,
            id=id,
            properties=state,
            inputs={},
            reasons=[
                message,
                f"look on with: helm status {inputs['name']} -n {inputs['namespace']}",
            ],
        )

    async def read(self, urn: str, id: str, state: Properties, inputs: Properties) -> ReadState:
        """The current state of the release. Without a state this is an import."""
        if self._session.cluster is None:
            return await read_unreachable(self._session, urn, id, state, inputs)
        namespace, name = parse_id(id)
        old = plain(state)
        identity = {
            "namespace": old.get("namespace") or namespace or self._session.namespace,
            "name": old.get("name") or name,
        }
        revision = await self._latest(identity)
        if revision is None:
            return ReadState("", {}, {})
        old_inputs = state.get("__inputs")
        source = old_inputs.value if isinstance(old_inputs, Secret) else old_inputs
        if not isinstance(source, Mapping):
            source = self._imported(revision)
        # The inputs stay those of the program; differences in the cluster appear in the state.
        return ReadState(id, _checkpoint(plain(source), source, revision, old), source)

    def _imported(self, revision: Revision) -> dict[str, Any]:
        inputs: dict[str, Any] = dict.fromkeys(_SWITCHES, False) | dict.fromkeys(_TEXTS, "")
        return inputs | {
            "name": revision.name,
            "namespace": revision.namespace,
            "chart": revision.chart.get("name", ""),
            "version": revision.chart.get("version", ""),
            # A chart's values may contain passwords.
            "values": Secret(dict(revision.values)),
            "timeout": _DEFAULT_SECONDS,
        }

    async def delete(self, id: str, state: Properties) -> None:
        """Uninstall the release, and wait until its objects are gone unless skipAwait is set.

        Raises Failure if helm fails, or if the cluster is unreachable, whatever the options are.
        """
        if self._session.cluster is None:
            raise Failure(
                "can't delete Helm Release with unreachable cluster. Reason:"
                f' "{self._session.unreachable}"'
            )
        release = plain(state)
        arguments = ["uninstall", release["name"], "--namespace", release["namespace"]]
        if release.get("atomic") or not release.get("skipAwait"):
            arguments += ["--wait", "--timeout", f"{release.get('timeout') or _DEFAULT_SECONDS}s"]
        try:
            await self._helm.on_cluster(arguments)
        except HelmFailed as error:
            raise Failure(
                f"failed to uninstall Helm release {id}: {error}; look on with: helm status"
                f" {release['name']} -n {release['namespace']}"
            ) from None


def _source(inputs: Mapping[str, Any]) -> ChartSource:
    options = inputs.get("repositoryOpts") or {}
    chart, repository = inputs["chart"].strip(), str(options.get("repo") or "")
    if chart.startswith("oci://"):
        repository = ""
    elif repository and "://" not in repository:
        # The name of a repository of `helm repo list`.
        chart, repository = (chart if "/" in chart else f"{repository}/{chart}"), ""
    return ChartSource(
        chart=chart,
        version=inputs["version"].strip(),
        devel=bool(inputs["devel"]) and not inputs["version"],
        repository=repository,
        username=str(options.get("username") or ""),
        password=str(options.get("password") or ""),
        ca_file=str(options.get("caFile") or ""),
        cert_file=str(options.get("certFile") or ""),
        key_file=str(options.get("keyFile") or ""),
    )


def _checkpoint(
    inputs: Mapping[str, Any],
    source: Properties,
    revision: Revision | None,
    old: Properties | None = None,
) -> dict[str, Any]:
    """The state: the inputs and helm's record of the release (None: unknown in a preview)."""
    state = {key: value for key, value in (old or inputs).items() if key != "__inputs"}
    if revision is None:
        state |= {"resourceNames": UNKNOWN, "status": UNKNOWN}
    else:
        chart = revision.chart
        state |= {
            "values": _merge(dict(state.get("values") or {}), revision.values),
            "version": chart.get("version", ""),
            "resourceNames": revision.resource_names(),
            "status": {
                "name": revision.name,
                "namespace": revision.namespace,
                "revision": revision.number,
                "chart": chart.get("name", ""),
                "version": chart.get("version", ""),
                "appVersion": chart.get("appVersion", ""),
                "status": revision.status,
            },
        }
    return mark_secrets(state, source) | {"__inputs": Secret(source)}


def _merge(base: Mapping[str, Any], over: Any) -> Any:
    """`over` merged into `base`, maps recursively. An unknown in place of a map stays unknown."""
    if not isinstance(over, Mapping):
        return over
    merged = dict(base)
    for key, value in over.items():
        nested = merged.get(key)
        merged[key] = _merge(nested, value) if isinstance(nested, Mapping) else value
    return merged


def _shape(state: Any, *shapes: Any) -> Any:
    """`state` reduced to the keys that at least one of `shapes` has."""
    maps = [shape for shape in shapes if isinstance(shape, Mapping)]
    if not isinstance(state, Mapping) or not maps:
        return state
    return {
        key: _shape(value, *(shape[key] for shape in maps if key in shape))
        for key, value in state.items()
        if any(key in shape for shape in maps)
    }


def _read_asset(asset: Any) -> Mapping[str, Any]:
    signature = asset.get(rpc._special_sig_key) if isinstance(asset, Mapping) else None
    if signature != rpc._special_asset_sig or not isinstance(asset, Mapping):
        raise Failure("valueYamlFiles must be a list of assets")
    if "text" in asset:
        text = str(asset["text"])
    elif "path" in asset:
        try:
            with open(str(asset["path"])) as file:
                text = file.read()
        except OSError as error:
            raise Failure(f"valueYamlFiles: {error}") from None
    else:
        raise Failure("the stand-in plugin reads valueYamlFiles from files and texts only")
    try:
        values = yaml.safe_load(text) or {}
    except yaml.YAMLError:
        raise Failure("valueYamlFiles: one of them is not valid YAML") from None
    if not isinstance(values, Mapping):
        raise Failure("valueYamlFiles: each must hold a map of values")
    return values
