"""`bin/platform seal`, `reseal` and `sealing-keys`: secrets in Git, encrypted."""

from __future__ import annotations

import os
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from doks_gitops.cli import options
from doks_gitops.cli.help import examples
from doks_gitops.environments import short_name
from doks_gitops.errors import PlatformError
from doks_gitops.sealing import Scope

if TYPE_CHECKING:
    from doks_gitops.stack import Stack

app = typer.Typer()

STANDARD_INPUT = "-"

Namespace = Annotated[
    str | None,
    typer.Option(
        "--namespace", metavar="NAMESPACE", help="The Secret's namespace. Default: the manifest's."
    ),
]
Output = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        metavar="FILE",
        help="File for the SealedSecret. Default: standard output.",
    ),
]


class Action(StrEnum):
    """What `sealing-keys` does."""

    NEW = "new"
    RENEW = "renew"
    LIST = "list"
    EXPORT = "export"
    IMPORT = "import"


@app.command(
    epilog=examples(
        ("bin/platform seal ~/db.yaml --stack dev -o db.yaml", "The manifest of a Secret."),
        (
            "bin/platform seal --stack dev --name db --namespace shop-dev --from-file password=-",
            "Type or pipe one value.",
        ),
    )
)
def seal(
    stack: options.Stack,
    file: Annotated[
        str, typer.Argument(metavar="[FILE]", help="Manifest of a Secret; -: standard input.")
    ] = STANDARD_INPUT,
    name: Annotated[
        str | None,
        typer.Option("--name", metavar="NAME", help="The Secret's name. Default: the manifest's."),
    ] = None,
    namespace: Namespace = None,
    scope: Annotated[
        Scope | None,
        typer.Option(
            "--scope",
            help="Whether it is readable only under its name (strict, the default), in its"
            " namespace, or in the whole cluster.",
        ),
    ] = None,
    from_files: Annotated[
        list[str] | None,
        typer.Option(
            "--from-file",
            metavar="[KEY=]FILE",
            help="In place of a manifest: the file's content under KEY (default: the file's name);"
            " FILE -: standard input. May be repeated.",
        ),
    ] = None,
    output: Output = None,
    cwd: options.Folder = Path(),
) -> None:
    """Encrypt a Secret, so that only the cluster of the stack can read it.

    Needs the stack file and nothing else: no cluster, no token, no passphrase.
    """
    from doks_gitops.sealing import keys
    from doks_gitops.sealing.seal import dump, load, seal
    from doks_gitops.settings import sealing_key

    certificate = keys.sealing_certificate(_stack_file(stack, cwd), keys.now())
    if from_files:
        if file != STANDARD_INPUT:
            raise PlatformError("There are a manifest and --from-file.", "Give one of them.")
        secret = _of_files(from_files)
    else:
        secret = load(_read(file).decode(errors="replace"), "Secret")
    sealed = seal(
        secret,
        sealing_key.public_key(certificate),
        name=name,
        namespace=namespace,
        scope=scope,
    )
    _write(dump(sealed), output)


@app.command(
    epilog=examples(
        (
            "bin/platform reseal dev/db.yaml --from dev --to staging --namespace shop-staging"
            " -o staging/db.yaml",
            "The same secret for another environment.",
        ),
        ("bin/platform reseal db.yaml --from dev --to dev -o db.yaml", "With the newest key."),
    )
)
def reseal(
    file: Annotated[
        str, typer.Argument(metavar="FILE", help="Manifest of a SealedSecret; -: standard input.")
    ],
    source: Annotated[
        str, typer.Option("--from", metavar="STACK", help="The stack that can read it.")
    ],
    target: Annotated[
        str, typer.Option("--to", metavar="STACK", help="The stack that is to read it.")
    ],
    namespace: Namespace = None,
    output: Output = None,
    cwd: options.Folder = Path(),
) -> None:
    """Encrypt a SealedSecret anew, for another stack or with a renewed key.

    Reads the private keys of the source stack, with its passphrase. The values are in clear only in
    this process's memory.
    """
    from doks_gitops.sealing import keys
    from doks_gitops.sealing.seal import dump, load, reseal
    from doks_gitops.settings import sealing_key
    from doks_gitops.stack import Stack

    certificate = keys.sealing_certificate(_stack_file(target, cwd), keys.now())
    text = (
        sys.stdin.read()
        if file == STANDARD_INPUT
        else _content(Path(file)).decode(errors="replace")
    )
    sealed = load(text, "SealedSecret")
    private_keys = [
        sealing_key.private_key(pair.private_key) for pair in keys.read(Stack(source, cwd))
    ]
    result = reseal(sealed, private_keys, sealing_key.public_key(certificate), namespace=namespace)
    _write(dump(result), output)


@app.command(
    epilog=examples(
        ("bin/platform sealing-keys new --stack dev", "The first key pair."),
        ("bin/platform sealing-keys export --stack dev --file dev-keys.pem", "Keep a copy."),
    )
)
def sealing_keys(
    action: Annotated[
        Action,
        typer.Argument(
            help="new: the first key pair; renew: a further one, the old ones can still be read;"
            " list; export: all private keys in clear; import: key pairs that were exported.",
        ),
    ],
    stack: options.Stack,
    file: Annotated[
        str,
        typer.Option(
            "--file",
            metavar="FILE",
            help="File of export or import. Default: the standard streams.",
        ),
    ] = STANDARD_INPUT,
    cwd: options.Folder = Path(),
) -> None:
    """Manage the key pairs of a stack's sealed secrets, in its stack file.

    The private keys are encrypted there like every secret. `pulumi up` brings the key pairs into
    the cluster.
    """
    from doks_gitops.sealing import keys
    from doks_gitops.stack import Stack

    if action not in (Action.EXPORT, Action.IMPORT):
        options.refuse_without_effect(action, {"--file": file != STANDARD_INPUT})
    target = Stack(stack, cwd)
    match action:
        case Action.NEW:
            if keys.has_section(target):
                raise PlatformError(
                    f"{target.file.name} has sealed secrets already.",
                    f"bin/platform sealing-keys renew --stack {stack}",
                )
            _add(target, [keys.generate(short_name(stack), keys.now())])
        case Action.RENEW:
            keys.certificates(target.file)
            _add(target, [keys.generate(short_name(stack), keys.now())])
        case Action.LIST:
            print(*keys.descriptions(target.file), sep="\n")
        case Action.EXPORT:
            text = "".join(map(str, keys.read(target)))
            if file == STANDARD_INPUT:
                print(text, end="")
            else:
                _write_private(Path(file), text)
                _note(f"Wrote {file}, readable for you only: put it into a password manager.")
        case Action.IMPORT:
            pairs = keys.parse(_read(file).decode(errors="replace"))
            if new := keys.unknown(target.file, pairs):
                _add(target, new)
            else:
                print(f"{target.file.name} has them already.")


def _add(stack: Stack, pairs: list[Any]) -> None:
    from doks_gitops.sealing import keys

    keys.add(stack, pairs)
    print(f"Added {len(pairs)} key pair{'s' * (len(pairs) > 1)} to {stack.file.name}.")
    _note(f"next: commit {stack.file.name}, then pulumi up --stack {stack.name}")


def _stack_file(stack: str, folder: Path) -> Path:
    from doks_gitops.settings.errors import stack_file

    return folder / stack_file(stack)


def _of_files(words: list[str]) -> dict[str, Any]:
    """A Secret of the values in files."""
    import base64

    data: dict[str, str] = {}
    for word in words:
        key, separator, path = word.partition("=")
        if not separator and word == STANDARD_INPUT:
            raise PlatformError("Standard input has no name.", "Give it a key: --from-file KEY=-")
        if not separator:
            key, path = Path(word).name, word
        data[key] = base64.b64encode(_read(path)).decode()
    return {"apiVersion": "v1", "kind": "Secret", "type": "Opaque", "data": data}


def _read(file: str) -> bytes:
    """A text with secrets in clear. Raises `PlatformError` for a file that Git would publish."""
    if file == STANDARD_INPUT:
        return sys.stdin.buffer.read()
    _refuse_in_clone(Path(file))
    return _content(Path(file))


def _content(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise PlatformError(f"{file} can't be read: {error.strerror}.") from None


def _refuse_in_clone(file: Path) -> None:
    """Raises `PlatformError` if the file is, or would be, in a clone and Git does not ignore it: a
    commit could have it."""
    from doks_gitops.git import GitError
    from doks_gitops.promotion.repository import WorkingTree

    folder = WorkingTree(file.parent.resolve())
    if not folder.folder.is_dir():
        return
    try:
        folder.git("check-ignore", "--quiet", "--", file.name)
    except GitError as error:
        if "not a git repository" not in error.problem:
            raise PlatformError(
                f"{file} has secrets in clear, and is in a clone, where a commit would publish it.",
                "Put it outside of the clone, or use a pipe.",
            ) from None


def _write(text: str, output: Path | None) -> None:
    if output is None:
        print(text, end="")
        return
    try:
        output.write_text(text)
    except OSError as error:
        raise PlatformError(f"{output} can't be written: {error.strerror}.") from None


def _write_private(file: Path, text: str) -> None:
    """Write a new file that only this user can read."""
    _refuse_in_clone(file)
    try:
        with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as stream:
            stream.write(text)
    except OSError as error:
        raise PlatformError(f"{file} can't be written: {error.strerror}.") from None


def _note(text: str) -> None:
    print(text, file=sys.stderr)
