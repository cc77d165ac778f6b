"""Starts a plugin: `launch.py HOME MODULE ARGUMENT...`, run by the engine in the plugin's place.

Loading a plugin takes half a second, and an update starts five. So the sandbox has a process with
all plugins loaded (`sandbox.plugins.loaded`), which forks the plugin with this process's streams,
folder and environment. Without that process, this one becomes the plugin.

The engine waits for this script, so it imports only modules that load quickly.
"""

import json
import os
import select
import signal
import socket
import sys

SOCKET = "plugins.sock"
"""A path relative to the sandbox's folder."""
LENGTH = 8
"""Bytes of the number that precedes a request: its length in bytes."""


def main() -> None:
    home, module, *arguments = sys.argv[1:]
    request = {
        "module": module,
        "arguments": arguments,
        "folder": os.getcwd(),
        "environment": dict(os.environ),
    }
    engine = os.pidfd_open(os.getppid())
    with socket.socket(socket.AF_UNIX) as plugin:
        try:
            # A socket's path is limited to 107 bytes, so it is relative.
            os.chdir(home)
            plugin.connect(SOCKET)
        except OSError:
            become(module, arguments, str(request["folder"]))
        message = json.dumps(request).encode()
        socket.send_fds(plugin, [len(message).to_bytes(LENGTH, "big")], [0, 1, 2])
        plugin.sendall(message)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda number, _: plugin.send(bytes([number])))
        poll = select.poll()
        poll.register(plugin, select.POLLIN)
        poll.register(engine, select.POLLIN)
        while plugin.fileno() not in (ready := [file for file, _ in poll.poll()]):
            if engine in ready:
                poll.unregister(engine)
                plugin.send(bytes([signal.SIGTERM]))
        # The plugin sends its exit code before it ends, or nothing if it was killed.
        code = plugin.recv(1)
        os._exit(code[0] if code else 0)


def become(module: str, arguments: list[str], folder: str) -> None:
    """Replace this process by the plugin. Its modules come from the virtual environment alone,
    neither from `folder` nor from a PYTHONPATH of the user (-I)."""
    os.chdir(folder)
    os.execv(sys.executable, [sys.executable, "-I", "-m", module, *arguments])


if __name__ == "__main__":
    main()
