"""The messages of Argo CD's repo-server that a rendering needs, and those of its API server that a
comparison with a cluster needs.

Field names and numbers are those of `reposerver/repository/repository.proto`, of
`server/application/application.proto` and of `pkg/apis/application/v1alpha1/generated.proto` of
Argo CD 3, which never reuse a number. A field that is not listed here is an error when a message is
made (`request`), so nothing is left out silently.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from typing import Any

from google.protobuf import descriptor_pool, message_factory  # type: ignore[import-untyped]
from google.protobuf.descriptor_pb2 import (  # type: ignore[import-untyped]
    DescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
)
from google.protobuf.json_format import ParseDict  # type: ignore[import-untyped]
from google.protobuf.message import Message  # type: ignore[import-untyped]

_MESSAGES = """
ManifestRequest
    repo=1:Repository revision=2:string noCache=3:bool appLabelKey=4:string appName=5:string
    namespace=8:string applicationSource=10:ApplicationSource repos=11:Repository*
    kustomizeOptions=13:KustomizeOptions kubeVersion=14:string apiVersions=15:string*
    noRevisionCache=18:bool trackingMethod=19:string enabledSourceTypes=20:map(bool)
    helmOptions=21:HelmOptions hasMultipleSources=22:bool refSources=23:map(RefTarget)
    projectSourceRepos=24:string* projectName=25:string installationID=27:string
ManifestResponse
    manifests=1:string* revision=4:string sourceType=6:string commands=8:string*
Repository
    repo=1:string username=2:string password=3:string sshPrivateKey=4:string enableLfs=8:bool
    type=11:string name=12:string enableOCI=14:bool githubAppPrivateKey=15:string
    githubAppID=16:int64 githubAppInstallationID=17:int64 insecureOCIForceHttp=26:bool
RefTarget
    repo=1:Repository targetRevision=2:string chart=3:string
KustomizeOptions
    buildOptions=1:string
HelmOptions
    valuesFileSchemes=1:string*
ApplicationSource
    repoURL=1:string path=2:string targetRevision=4:string helm=7:Helm kustomize=8:Kustomize
    directory=10:Directory chart=12:string ref=13:string name=14:string tagPrefix=15:string
Helm
    valueFiles=1:string* parameters=2:HelmParameter* releaseName=3:string values=4:string
    fileParameters=5:HelmFileParameter* version=6:string passCredentials=7:bool
    ignoreMissingValueFiles=8:bool skipCrds=9:bool valuesObject=10:RawExtension namespace=11:string
    kubeVersion=12:string apiVersions=13:string* skipTests=14:bool skipSchemaValidation=15:bool
HelmParameter
    name=1:string value=2:string forceString=3:bool
HelmFileParameter
    name=1:string path=2:string
RawExtension
    raw=1:bytes
Kustomize
    namePrefix=1:string nameSuffix=2:string images=3:string* commonLabels=4:map(string)
    version=5:string commonAnnotations=6:map(string) forceCommonLabels=7:bool
    forceCommonAnnotations=8:bool namespace=9:string commonAnnotationsEnvsubst=10:bool
    replicas=11:Replica* patches=12:Patch* components=13:string* labelWithoutSelector=14:bool
    kubeVersion=15:string apiVersions=16:string* ignoreMissingComponents=17:bool
    labelIncludeTemplates=18:bool
Replica
    name=1:string count=2:IntOrString
IntOrString
    type=1:int64 intVal=2:int32 strVal=3:string
Patch
    path=1:string patch=2:string target=3:Selector options=4:map(bool)
Selector
    resId=1:ResId annotationSelector=2:string labelSelector=3:string
ResId
    gvk=1:Gvk name=2:string namespace=3:string
Gvk
    group=1:string version=2:string kind=3:string
Directory
    recurse=1:bool jsonnet=2:Jsonnet exclude=3:string include=4:string disableExtensionFilter=5:bool
Jsonnet
    extVars=1:JsonnetVar* tlas=2:JsonnetVar* libs=3:string*
JsonnetVar
    name=1:string value=2:string code=3:bool
ApplicationServerSideDiffQuery
    appName=1:string liveResources=4:ResourceDiff* targetManifests=5:string*
ApplicationServerSideDiffResponse
    items=1:ResourceDiff* modified=2:bool
ResourceDiff
    group=1:string kind=2:string namespace=3:string name=4:string targetState=5:string
    liveState=6:string modified=12:bool
"""
_SCALARS = {
    "string": FieldDescriptorProto.TYPE_STRING,
    "bool": FieldDescriptorProto.TYPE_BOOL,
    "int32": FieldDescriptorProto.TYPE_INT32,
    "int64": FieldDescriptorProto.TYPE_INT64,
    "bytes": FieldDescriptorProto.TYPE_BYTES,
}
_FIELD = re.compile(r"(?P<name>\w+)=(?P<number>\d+):(?P<map>map\()?(?P<type>\w+)\)?(?P<list>\*)?")
_PACKAGE = "repository"


def request(content: Mapping[str, Any]) -> Message:
    """A `ManifestRequest`. Raises ValueError for a field that is not in the list above."""
    return message("ManifestRequest", _wire_form(content))


def message(name: str, content: Mapping[str, Any]) -> Message:
    """A message of that name. Raises ValueError for a field that is not in the list above."""
    empty: Message = _CLASSES[name]()
    try:
        return ParseDict(content, empty)
    except Exception as error:  # ParseError and its subclasses have no common public base
        raise ValueError(str(error)) from None


def parsed(name: str, data: bytes) -> Any:
    """A message of that name, from its bytes."""
    return _CLASSES[name].FromString(data)


def _wire_form(content: Mapping[str, Any]) -> dict[str, Any]:
    """The content with values whose JSON differs from their message: free-form Helm values, and
    numbers of replicas."""
    content = dict(content)
    source = dict(content.get("applicationSource") or {})
    content["applicationSource"] = source
    if "valuesObject" in (helm := dict(source.get("helm") or {})):
        raw = json.dumps(helm["valuesObject"], separators=(",", ":")).encode()
        helm["valuesObject"] = {"raw": base64.b64encode(raw).decode()}
        source["helm"] = helm
    kustomize = dict(source.get("kustomize") or {})
    if kustomize.get("replicas"):
        kustomize["replicas"] = [
            {**replica, "count": _int_or_string(replica["count"])}
            for replica in kustomize["replicas"]
        ]
        source["kustomize"] = kustomize
    if kustomize.get("patches"):
        kustomize["patches"] = [_patch(patch) for patch in kustomize["patches"]]
        source["kustomize"] = kustomize
    return content


def _int_or_string(value: int | str) -> dict[str, Any]:
    return {"type": 0, "intVal": value} if isinstance(value, int) else {"type": 1, "strVal": value}


def _patch(patch: Mapping[str, Any]) -> dict[str, Any]:
    """A patch whose target has the nesting of the message; its JSON is flat."""
    if not patch.get("target"):
        return dict(patch)
    target = dict(patch["target"])
    gvk = {key: target.pop(key) for key in ("group", "version", "kind") if key in target}
    names = {key: target.pop(key) for key in ("name", "namespace") if key in target}
    return {**patch, "target": {"resId": {"gvk": gvk, **names}, **target}}


def _classes() -> dict[str, Any]:
    file = FileDescriptorProto(name="repository.proto", package=_PACKAGE, syntax="proto3")
    for line in _MESSAGES.splitlines():
        if line and not line.startswith(" "):
            message = file.message_type.add(name=line)
        for field in _FIELD.finditer(line) if line.startswith(" ") else ():
            _add_field(message, field.groupdict())
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {
        message.name: message_factory.GetMessageClass(
            pool.FindMessageTypeByName(f"{_PACKAGE}.{message.name}")
        )
        for message in file.message_type
    }


def _add_field(message: DescriptorProto, field: Mapping[str, str | None]) -> None:
    name = str(field["name"])
    added = message.field.add(name=name, json_name=name, number=int(str(field["number"])))
    added.label = (
        FieldDescriptorProto.LABEL_REPEATED
        if field["list"] or field["map"]
        else FieldDescriptorProto.LABEL_OPTIONAL
    )
    if not field["map"]:
        _set_type(added, str(field["type"]))
        return
    # https://protobuf.dev/programming-guides/proto3/#maps-features
    entry = message.nested_type.add(name=f"{name[0].upper()}{name[1:]}Entry")
    entry.options.map_entry = True
    for number, (key, kind) in enumerate((("key", "string"), ("value", str(field["type"]))), 1):
        part = entry.field.add(name=key, number=number)
        part.label = FieldDescriptorProto.LABEL_OPTIONAL
        _set_type(part, kind)
    added.type = FieldDescriptorProto.TYPE_MESSAGE
    added.type_name = f".{_PACKAGE}.{message.name}.{entry.name}"


def _set_type(field: FieldDescriptorProto, kind: str) -> None:
    if kind in _SCALARS:
        field.type = _SCALARS[kind]
    else:
        field.type = FieldDescriptorProto.TYPE_MESSAGE
        field.type_name = f".{_PACKAGE}.{kind}"


_CLASSES = _classes()
