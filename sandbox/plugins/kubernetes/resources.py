"""The life of one object of the Kubernetes API as a Pulumi resource, custom resources included."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import httpx
from pulumi.runtime.proto import provider_pb2

from sandbox.plugins.common import (
    UNKNOWN,
    Failure,
    InitFailed,
    diff_kind,
    has_unknown,
    name_of_urn,
    plain,
    type_of_urn,
)
from sandbox.plugins.kubernetes import fields
from sandbox.plugins.kubernetes.await_ import Cancelled, NotReady, timeout_of
from sandbox.plugins.kubernetes.client import ApiError, Cluster, NoMatch
from sandbox.plugins.kubernetes.diff import Kind, changes, detailed, force_new, parse_path, replaces
from sandbox.plugins.kubernetes.objects import (
    AUTONAMED,
    DELETION_PROPAGATION,
    HONOURED_ANNOTATIONS,
    PATCH_FORCE,
    Gvk,
    Object,
    annotation,
    as_object,
    checkpoint,
    is_true,
    mark_secrets,
    metadata,
    name_of,
    namespace_of,
    normalize,
    object_id,
    parse_checkpoint,
    parse_id,
    prune,
    set_metadata,
)
from sandbox.plugins.kubernetes.session import FORGET_HINT, Session

Properties = Mapping[str, Any]

_CONFLICT_HELP: Final = (
    "https://www.pulumi.com/registry/packages/kubernetes/how-to-guides/"
    "managing-resources-with-server-side-apply/#handle-field-conflicts-on-existing-resources"
)
_CREATE_RETRIES: Final = 5
_EXISTS_HELP: Final = """

The resource already exists in the cluster. This can happen when:

  - Renaming a Pulumi resource: use an alias to preserve the identity,
    or use deleteBeforeReplace if the resource needs replacement.
  - Adopting a resource into Pulumi: use `pulumi import`.
  - Intentional upsert: set upsertExistingObjects on the provider to allow
    server-side apply to update existing objects on create."""


@dataclass(frozen=True)
class Checked:
    """The complete inputs, and why they are refused: pairs of a property and the reason."""

    inputs: dict[str, Any]
    failures: list[tuple[str, str]]


@dataclass(frozen=True)
class ReadState:
    """The current state of a resource. An empty id means that it is gone."""

    id: str
    state: Properties
    inputs: Properties


_GONE: Final = ReadState("", {}, {})


def _refuse_unknown(token: str) -> None:
    gvk = Gvk.of_type(token)
    for suffix, description in (("Patch", "Patch resources"), ("List", "lists of objects")):
        if gvk.built_in and gvk.kind.endswith(suffix):
            raise Failure(f"the stand-in plugin does not offer {description} ({token})")


async def check(
    session: Session,
    urn: str,
    olds: Properties,
    news: Properties,
    *,
    proposed_name: str,
) -> Checked:
    """Complete the inputs: name, namespace, normal form. `proposed_name` is the engine's choice for
    an object without a name, or empty."""
    token = type_of_urn(urn)
    _refuse_unknown(token)
    inputs, old_inputs = normalize(as_object(news)), as_object(olds)
    if inputs.get("metadata") is UNKNOWN:
        return Checked(mark_secrets(inputs, news), [])
    declared = metadata(inputs)
    if declared.get("generateName"):
        raise Failure(
            "the `.metadata.generateName` field is not supported in Server-Side Apply mode"
        )
    if not declared.get("name"):
        if is_true(old_inputs, AUTONAMED):
            _autoname(inputs, name_of(old_inputs))
        elif not old_inputs:
            _autoname(inputs, proposed_name or session.unique(f"{name_of_urn(urn)}-"))
    if not declared.get("namespace") and await session.namespaced(Gvk.of_type(token)):
        set_metadata(inputs, "namespace", session.namespace)
    annotations = metadata(inputs).get("annotations")
    failures = [
        (
            f'metadata.annotations["{key}"]',
            f"the stand-in plugin does not honour the annotation {key}",
        )
        for key in (annotations if isinstance(annotations, Mapping) else ())
        if key.startswith("pulumi.com/") and key not in HONOURED_ANNOTATIONS
    ]
    return Checked(mark_secrets(inputs, news), failures)


def _autoname(inputs: Object, name: str) -> None:
    set_metadata(inputs, "name", name)
    annotations = inputs["metadata"].get("annotations") or {}
    inputs["metadata"]["annotations"] = {**annotations, AUTONAMED: "true"}


async def diff(
    session: Session, olds: Properties, news: Properties, ignored: Sequence[str]
) -> provider_pb2.DiffResponse:
    """Compare the new inputs to the live object in the state, without fields that no input had.

    So a manual change that a refresh has read is a difference, too.
    """
    old_inputs, live = parse_checkpoint(olds)
    old_inputs, new = normalize(old_inputs), normalize(as_object(news))
    old = prune(live, old_inputs)
    gvk = Gvk.of(new)
    if await session.namespaced(gvk):
        for item in (old, new):
            if not metadata(item).get("namespace"):
                set_metadata(item, "namespace", "default")
    else:
        for item in (old, new):
            set_metadata(item, "namespace", "")
    old.setdefault("apiVersion", gvk.api_version)
    old.setdefault("kind", gvk.kind)
    if metadata(old):
        old["metadata"].pop("resourceVersion", None)
    if name_of(new):
        set_metadata(old, "name", name_of(live))
    differences = [
        change
        for change in changes(old, new)
        # The API server drops empty lists and maps of its own types, so they never exist.
        if not (gvk.built_in and change.kind == Kind.ADD and change.value in ({}, []))
    ]
    details = detailed(
        differences,
        force_new=force_new(
            new,
            mutable_secrets=session.config.mutable_secrets,
            mutable_config_maps=session.config.mutable_config_maps,
        ),
        ignored=ignored,
    )
    replacing = replaces(details)
    return provider_pb2.DiffResponse(
        changes=diff_kind(details),
        replaces=replacing,
        # Two objects with the same name can't exist at once; a generated name is always new.
        deleteBeforeReplace=bool(replacing)
        and bool(name_of(new))
        and not is_true(new, AUTONAMED)
        and name_of(new) == name_of(live)
        and namespace_of(new) == namespace_of(live),
        detailedDiff=details,
        hasDetailedDiff=True,
    )


def _manager(session: Session, state: Properties) -> str:
    manager = plain(state.get("__fieldManager"))
    return manager if isinstance(manager, str) else session.unique("pulumi-kubernetes-")


def _reporter(session: Session, urn: str) -> Callable[[str], Awaitable[None]]:
    async def report(message: str) -> None:
        await session.engine.status(urn, message)

    return report


async def create(
    session: Session, urn: str, news: Properties, *, seconds: float, preview: bool
) -> tuple[str, Properties]:
    """Create the object and wait until it is ready. Returns its id and state.

    Raises Failure, or InitFailed if it was created but did not become ready. A preview is a dry run
    of the server. Where that is impossible (unknown values, a kind or a namespace that does not
    exist yet), the state consists of the inputs.
    """
    inputs = as_object(news)
    gvk = Gvk.of(inputs)
    if preview and (has_unknown(inputs) or not await session.knows(gvk)):
        return "", news
    _, waiter = session.reached()
    manager = _manager(session, news)
    try:
        live = await _create(session, urn, inputs, manager, preview)
    except NoMatch as error:
        raise Failure(
            f'creation of resource "{urn}" with kind {gvk} failed because the Kubernetes API server'
            " reported that the apiVersion for this resource does not exist. Verify that any"
            f" required CRDs have been created: {error}"
        ) from None
    except ApiError as error:
        skipped = error.forbidden or error.namespace_not_found or error.reason == "AlreadyExists"
        if preview and skipped:
            return "", news
        help_text = _EXISTS_HELP if error.reason == "AlreadyExists" else ""
        raise Failure(
            f'resource "{urn}" was not successfully created by the Kubernetes API server:'
            f" {_conflict(error, manager)}{help_text}"
        ) from None
    except (httpx.HTTPError, Cancelled) as error:
        raise Failure(
            f'resource "{urn}" was not successfully created by the Kubernetes API server:'
            f" {error or type(error).__name__}"
        ) from None
    if preview:
        live.pop("status", None)
        return "", checkpoint(inputs, live, news, api_version=gvk.api_version, manager=manager)
    try:
        live = await waiter.until_ready(
            inputs, live, seconds=timeout_of(inputs, seconds), report=_reporter(session, urn)
        )
    except NotReady as error:
        message = (
            f'resource "{urn}" was successfully created, but the Kubernetes API server reported'
            f" that it failed to fully initialize or become live: {error}"
        )
        raise InitFailed(
            message,
            id=object_id(error.live),
            properties=checkpoint(
                inputs, error.live, news, api_version=gvk.api_version, manager=manager
            ),
            inputs={},
            reasons=[message, *error.reasons],
        ) from None
    state = checkpoint(inputs, live, news, api_version=gvk.api_version, manager=manager)
    return object_id(live), state


async def _rescope(session: Session, inputs: Object, gvk: Gvk) -> Object:
    # Before its CRD existed, a kind was assumed to be namespaced.
    if namespace_of(inputs) and not await session.namespaced(gvk):
        inputs = {**inputs, "metadata": {**inputs["metadata"]}}
        set_metadata(inputs, "namespace", "")
    return inputs


async def _create(
    session: Session, urn: str, inputs: Object, manager: str, preview: bool
) -> Object:
    """Retries for half a minute while the kind or the namespace does not exist: another resource
    of the run may be creating it."""
    cluster, waiter = session.reached()
    force = preview or is_true(inputs, PATCH_FORCE) or session.config.patch_force
    for attempt in range(_CREATE_RETRIES + 1):
        try:
            body = await _rescope(session, inputs, Gvk.of(inputs))
            if session.config.upsert:
                return await cluster.apply(body, manager=manager, force=force, dry_run=preview)
            return await cluster.create(body, dry_run=preview)
        except (NoMatch, ApiError) as error:
            if isinstance(error, ApiError) and not error.not_found:
                raise
            if attempt == _CREATE_RETRIES or preview:
                raise
            await session.engine.status(urn, f"Retry #{attempt}; creation failed: {error}")
        await waiter.pause(2**attempt)
    raise AssertionError("the last attempt returns or raises")


def _conflict(error: ApiError, manager: str) -> str:
    """The server's message, completed in a conflict by this field manager and a link to help."""
    if error.reason != "Conflict":
        return str(error)
    return (
        f"server-side apply field conflict detected, see {_CONFLICT_HELP} for troubleshooting"
        " help\n"
        f'The resource managed by field manager "{manager}" had an apply conflict: {error}'
    )


async def read(
    session: Session, urn: str, id: str, state: Properties, inputs: Properties
) -> ReadState:
    """The current state of the object. Without a state and inputs this is an import.

    Raises Failure if the cluster is unreachable and no option allows that, InitFailed if the object
    exists but is not ready.
    """
    if session.cluster is None or session.waiter is None:
        return await read_unreachable(session, urn, id, state, inputs)
    namespace, name = parse_id(id)
    old_inputs = normalize(as_object(inputs))
    _, old_live = parse_checkpoint(state)
    imported = not old_inputs.get("kind") and not old_live.get("kind")
    gvk = Gvk.of_type(type_of_urn(urn)) if imported else Gvk.of(old_inputs if inputs else old_live)
    if not old_inputs.get("kind"):
        old_inputs |= {"apiVersion": gvk.api_version, "kind": gvk.kind}
        for key, value in (("name", name), ("namespace", namespace)):
            if not metadata(old_inputs).get(key):
                set_metadata(old_inputs, key, value)
    manager = _manager(session, state)
    api_version = plain(state.get("__initialApiVersion")) or gvk.api_version
    try:
        live = await session.cluster.get(gvk, namespace or namespace_of(old_inputs), name)
    except NoMatch:
        return _GONE
    except ApiError as error:
        if error.not_found:
            return _GONE
        raise Failure(f"failed to read {gvk} {id}: {error}") from None
    except httpx.HTTPError as error:
        raise Failure(f"failed to read {gvk} {id}: {error or type(error).__name__}") from None
    live_inputs = prune(live, old_inputs)
    if imported:
        live_inputs = _imported(live, live_inputs, gvk)
    current = ReadState(
        id or object_id(live),
        checkpoint(live_inputs, live, inputs, api_version=api_version, manager=manager),
        mark_secrets(live_inputs, inputs),
    )
    if not imported:
        try:
            await session.waiter.check(old_inputs, live)
        except NotReady as error:
            raise InitFailed(
                str(error),
                id=current.id,
                properties=current.state,
                inputs=current.inputs,
                reasons=[str(error), *error.reasons],
            ) from None
    return current


def _imported(live: Object, identity: Object, gvk: Gvk) -> Object:
    """The inputs of an imported object: for Kubernetes' own kinds all fields except the status.

    For a custom resource only its identity: Pulumi's own plugin takes the names of inputs from its
    schema, which has none for custom resources.
    """
    if not gvk.built_in:
        return identity
    inputs = normalize({key: value for key, value in live.items() if key != "status"})
    annotations = metadata(inputs).get("annotations")
    if isinstance(annotations, dict):
        annotations.pop("deployment.kubernetes.io/revision", None)
        annotations.pop("kubectl.kubernetes.io/last-applied-configuration", None)
    return inputs


async def read_unreachable(
    session: Session, urn: str, id: str, state: Properties, inputs: Properties
) -> ReadState:
    """The result of a refresh if the cluster is unreachable.

    Raises Failure unless the option deleteUnreachable or skipUpdateUnreachable is set.
    """
    await session.warn_unreachable(urn)
    if await session.forgets(urn):
        return _GONE
    if session.config.skip_update_unreachable:
        await session.engine.info(
            urn,
            "configured Kubernetes cluster is unreachable and the `skipUnreachable` option is"
            " enabled. Returned data could not reflect the actual cluster configuration.",
        )
        return ReadState(id, state, inputs)
    raise Failure(
        "failed to read resource state due to unreachable cluster. If the cluster was deleted,"
        f" {FORGET_HINT}"
    )


async def update(
    session: Session,
    urn: str,
    olds: Properties,
    news: Properties,
    *,
    ignored: Sequence[str],
    seconds: float,
    preview: bool,
) -> Properties:
    """Apply the new inputs and wait until the object is ready. Returns its state.

    Raises Failure, or InitFailed (with the current object) if the server refuses the update, other
    managers own the changed fields, or the object does not become ready. The next `up` retries.
    """
    inputs = normalize(as_object(news))
    gvk = Gvk.of(inputs)
    if preview and (has_unknown(inputs) or not await session.knows(gvk)):
        return news
    cluster, waiter = session.reached()
    old_inputs, old_live = parse_checkpoint(olds)
    api_version = plain(olds.get("__initialApiVersion")) or old_inputs.get("apiVersion")
    manager = _manager(session, olds)
    inputs = await _rescope(session, inputs, gvk)

    def state(live: Object) -> Properties:
        return checkpoint(inputs, live, news, api_version=str(api_version), manager=manager)

    reasons: list[str] = []
    try:
        live = await cluster.get(gvk, namespace_of(old_live), name_of(old_live))
        live = await _apply(session, cluster, inputs, live, ignored, manager, preview)
        if preview:
            return state(live)
        live = await waiter.until_ready(
            inputs, live, seconds=timeout_of(inputs, seconds), report=_reporter(session, urn)
        )
        return state(live)
    except NoMatch as error:
        raise Failure(
            f'update of resource "{urn}" failed because the Kubernetes API server reported that the'
            " apiVersion for this resource does not exist. Verify that any required CRDs have been"
            f" created: {error}"
        ) from None
    except ApiError as error:
        if preview and error.forbidden:
            return news
        cause = _conflict(error, manager)
    except NotReady as error:
        cause, reasons = str(error), error.reasons
    except httpx.HTTPError as error:
        cause = str(error) or type(error).__name__
    try:
        live = await cluster.get(gvk, namespace_of(old_live), name_of(old_live))
    except (ApiError, httpx.HTTPError) as error:
        raise Failure(
            f'update of resource "{urn}" failed: {cause}\nunable to get cluster state: {error}'
        ) from None
    message = (
        f'the Kubernetes API server reported that "{object_id(live)}" failed to fully initialize or'
        f" become live: {cause}"
    )
    raise InitFailed(
        message,
        id=object_id(live),
        properties=state(live),
        inputs={},
        reasons=[message, *reasons],
    )


async def _apply(
    session: Session,
    cluster: Cluster,
    inputs: Object,
    live: Object,
    ignored: Sequence[str],
    manager: str,
    preview: bool,
) -> Object:
    if Gvk.of(inputs).kind == "CustomResourceDefinition":
        # An apply would keep schema fields that the inputs no longer have, so replace the object.
        version = metadata(live)["resourceVersion"]
        body = {**inputs, "metadata": {**inputs["metadata"], "resourceVersion": version}}
        return await cluster.replace(body, manager=manager, dry_run=preview)
    force = (
        is_true(inputs, PATCH_FORCE)
        or session.config.patch_force
        or (preview and fields.created_by_provider(live))
        or not fields.entries(live)
    )
    if not preview and (operations := fields.take_over(live, manager)):
        live = await cluster.patch(live, operations)
    paths = [parse_path(text) for text in ignored]
    body = fields.leave_alone(inputs, live, paths, manager)
    return await cluster.apply(body, manager=manager, force=force, dry_run=preview)


async def delete(session: Session, urn: str, id: str, state: Properties, *, seconds: float) -> None:
    """Delete the object, and return when it is gone.

    Raises Failure if that takes too long, or if the cluster is unreachable and the option
    deleteUnreachable is not set.
    """
    if session.cluster is None or session.waiter is None:
        await session.warn_unreachable(urn)
        if await session.forgets(urn):
            return
        raise Failure(
            "configured Kubernetes cluster is unreachable. If the cluster was deleted,"
            f" {FORGET_HINT}"
        )
    inputs, live = parse_checkpoint(state)
    gvk, namespace = Gvk.of(live), namespace_of(live)
    _, name = parse_id(id)
    propagation = annotation(inputs, DELETION_PROPAGATION).capitalize() or "Foreground"
    uid = str(metadata(live).get("uid") or "")
    try:
        await session.cluster.delete(gvk, namespace, name, propagation=propagation)
        await session.waiter.until_gone(
            gvk,
            namespace,
            name,
            uid=uid,
            seconds=timeout_of(inputs, seconds),
            report=_reporter(session, urn),
        )
    except NoMatch:
        return
    except ApiError as error:
        if not error.not_found:
            raise Failure(f"failed to delete {gvk} {id}: {error}") from None
    except (httpx.HTTPError, TimeoutError, Cancelled) as error:
        raise Failure(str(error) or type(error).__name__) from None
