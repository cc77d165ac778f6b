"""Starts a plugin: `launch.py HOME MODULE ARGUMENT...`, run by the engine in the plugin's place.

The sandbox has a process with all plugins loaded (`sandbox.plugins.loaded`), which the plugin is
forked from, with this process's streams, folder and environment: loading one takes half a second,
and an update starts five. Where that process does not run, this one becomes the plugin.

Only what Python loads in no time is used here: this is what the engine waits for.
"""

import json
import os
import select
import signal
import socket
import sys

SOCKET = "plugins.sock"
"""In the sandbox's folder."""
LENGTH = 8
"""Bytes that tell how long a request is."""


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
            # A socket's path may have no more than 107 characters.
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
        # It says with which code it ends, unless all went well.
        code = plugin.recv(1)
        os._exit(code[0] if code else 0)


def become(module: str, arguments: list[str], folder: str) -> None:
    os.chdir(folder)
    checkout = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    os.environ["PYTHONPATH"] = checkout
    os.execv(sys.executable, [sys.executable, "-m", module, *arguments])


if __name__ == "__main__":
    main()
