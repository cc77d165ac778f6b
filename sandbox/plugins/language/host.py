"""The language host's side of Pulumi's protocol (`pulumirpc.LanguageRuntime`)."""

import asyncio
import contextlib
import importlib.metadata
import json
import os
import signal
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any

import grpc  # type: ignore[import-untyped]  # grpcio ships no types
from google.protobuf import empty_pb2, json_format  # type: ignore[import-untyped]
from pulumi.runtime.proto import LanguageRuntimeServicer, language_pb2, plugin_pb2

from sandbox.plugins.common import Failure
from sandbox.plugins.language import run
from sandbox.plugins.language.interpreter import (
    Distribution,
    NoInterpreter,
    installed,
    interpreter,
    python_version,
)
from sandbox.processes import with_parent_death_signal


def _python(info: language_pb2.ProgramInfo) -> Path:
    try:
        return interpreter(Path(info.root_directory), json_format.MessageToDict(info.options))
    except NoInterpreter as error:
        raise Failure(str(error)) from None


def _package(sdk: Distribution, plugin: Mapping[str, Any]) -> plugin_pb2.PackageDependency:
    version = str(plugin.get("version", sdk.version)).removeprefix("v")
    return plugin_pb2.PackageDependency(
        name=plugin.get("name", sdk.name.replace("_", "-").removeprefix("pulumi-")),
        kind="resource",
        version=f"v{version}",
        server=plugin.get("server", ""),
    )


class LanguageHost(LanguageRuntimeServicer):
    """Runs each program in its own process, with the Python of its project.

    `engine` is the address of the engine's service, to which programs log.
    """

    def __init__(self, engine: str) -> None:
        self._engine = engine
        self._programs: set[asyncio.subprocess.Process] = set()

    async def Handshake(
        self, request: language_pb2.LanguageHandshakeRequest, context: Any
    ) -> language_pb2.LanguageHandshakeResponse:
        self._engine = request.engine_address or self._engine
        return language_pb2.LanguageHandshakeResponse()

    async def GetPluginInfo(self, request: empty_pb2.Empty, context: Any) -> plugin_pb2.PluginInfo:
        return plugin_pb2.PluginInfo(version=importlib.metadata.version("pulumi"))

    async def About(
        self, request: language_pb2.AboutRequest, context: Any
    ) -> language_pb2.AboutResponse:
        python = _python(request.info)
        return language_pb2.AboutResponse(
            executable=str(python), version=await python_version(python)
        )

    async def GetRequiredPackages(
        self, request: language_pb2.GetRequiredPackagesRequest, context: Any
    ) -> language_pb2.GetRequiredPackagesResponse:
        distributions = await installed(_python(request.info))
        packages = [_package(sdk, sdk.plugin) for sdk in distributions if sdk.plugin]
        return language_pb2.GetRequiredPackagesResponse(packages=packages)

    async def GetRequiredPlugins(
        self, request: language_pb2.GetRequiredPluginsRequest, context: Any
    ) -> language_pb2.GetRequiredPluginsResponse:
        # The engine asks this only of hosts that don't know GetRequiredPackages.
        return language_pb2.GetRequiredPluginsResponse()

    async def GetProgramDependencies(
        self, request: language_pb2.GetProgramDependenciesRequest, context: Any
    ) -> language_pb2.GetProgramDependenciesResponse:
        distributions = await installed(_python(request.info))
        return language_pb2.GetProgramDependenciesResponse(
            dependencies=[
                language_pb2.DependencyInfo(name=package.name, version=package.version)
                for package in sorted(distributions, key=lambda package: package.name.lower())
            ]
        )

    async def InstallDependencies(
        self, request: language_pb2.InstallDependenciesRequest, context: Any
    ) -> AsyncIterator[language_pb2.InstallDependenciesResponse]:
        """Installs nothing: the virtual environment of Pulumi.yaml must be complete."""
        python = _python(request.info)
        yield language_pb2.InstallDependenciesResponse(stdout=f"using {python}\n".encode())

    async def RuntimeOptionsPrompts(
        self, request: language_pb2.RuntimeOptionsRequest, context: Any
    ) -> language_pb2.RuntimeOptionsResponse:
        return language_pb2.RuntimeOptionsResponse()

    async def Run(self, request: language_pb2.RunRequest, context: Any) -> language_pb2.RunResponse:
        info = request.info
        settings = run.Settings(
            monitor=request.monitor_address,
            engine=self._engine,
            project=request.project,
            stack=request.stack,
            organization=request.organization or "organization",
            dry_run=request.dryRun,
            parallel=request.parallel,
            root_directory=info.root_directory,
            program=str(Path(info.program_directory, info.entry_point or ".")),
            arguments=tuple(request.args),
        )
        # The configuration contains secrets, and every user can read a process's arguments.
        environment = os.environ | {
            "PULUMI_CONFIG": json.dumps(dict(request.config)),
            "PULUMI_CONFIG_SECRET_KEYS": json.dumps(list(request.configSecretKeys)),
        }
        command = [str(_python(info)), "-u", run.__file__, settings.to_json()]
        program = await asyncio.create_subprocess_exec(
            # After a failure the engine sends SIGINT to Pulumi's own host and to its programs.
            *with_parent_death_signal(command, "INT"),
            cwd=request.pwd or info.program_directory,
            env=environment,
            stdin=asyncio.subprocess.DEVNULL,
        )
        self._programs.add(program)
        try:
            code = await program.wait()
        finally:
            self._programs.discard(program)
        if code == run.ERROR_SHOWN:
            return language_pb2.RunResponse(bail=True)
        if code < 0:
            name = signal.Signals(-code).name
            return language_pb2.RunResponse(error=f"Program was ended by signal {name}")
        if code:
            return language_pb2.RunResponse(error=f"Program exited with non-zero exit code: {code}")
        return language_pb2.RunResponse()

    async def RunPlugin(
        self, request: language_pb2.RunPluginRequest, context: Any
    ) -> AsyncIterator[language_pb2.RunPluginResponse]:
        """Runs a policy pack (with the SDK's module for it) or a package of components, until it
        ends or the engine closes the call."""
        folder = request.info.program_directory
        match request.kind:
            case "analyzer":
                arguments = ["-m", "pulumi.policy", *request.args, folder]
            case "resource":
                arguments = [folder, *request.args]
            case _:
                await context.abort(
                    grpc.StatusCode.UNIMPLEMENTED, f"no {request.kind} plugin in Python is run here"
                )
        command = [str(_python(request.info)), "-u", *arguments]
        plugin = await asyncio.create_subprocess_exec(
            *with_parent_death_signal(command),
            cwd=request.pwd,
            env=dict(variable.split("=", 1) for variable in request.env) or None,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        responses: asyncio.Queue[language_pb2.RunPluginResponse] = asyncio.Queue()

        async def forward(
            stream: asyncio.StreamReader | None,
            response: Callable[[bytes], language_pb2.RunPluginResponse],
        ) -> None:
            assert stream is not None
            while part := await stream.read(65536):
                responses.put_nowait(response(part))

        async def forward_all() -> None:
            await asyncio.gather(
                forward(plugin.stdout, lambda part: language_pb2.RunPluginResponse(stdout=part)),
                forward(plugin.stderr, lambda part: language_pb2.RunPluginResponse(stderr=part)),
            )
            responses.put_nowait(language_pb2.RunPluginResponse(exitcode=await plugin.wait()))

        forwarding = asyncio.create_task(forward_all())
        try:
            while True:
                part = await responses.get()
                yield part
                if part.HasField("exitcode"):
                    return
        finally:
            with contextlib.suppress(ProcessLookupError):
                plugin.kill()
            await forwarding

    async def Cancel(self, request: empty_pb2.Empty, context: Any) -> empty_pb2.Empty:
        for program in self._programs:
            with contextlib.suppress(ProcessLookupError):
                program.send_signal(signal.SIGINT)
        return empty_pb2.Empty()
