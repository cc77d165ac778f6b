"""`bin/platform costs [STACK...]`: run it in the project's folder, where the stack files are."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from doks_gitops import account
from doks_gitops.costs import bill
from doks_gitops.environments import ENVIRONMENTS
from doks_gitops.settings import DigitalOcean, Registry, SettingsError
from doks_gitops.settings.errors import stack_file
from doks_gitops.settings.load import ENVIRONMENT_VARIABLES, billable_sections
from doks_gitops.settings.model import NAMESPACE
from doks_gitops.settings.stackfile import StackFile, Storage
from doks_gitops.stack import PulumiError, Stack


class Unknown(Exception):
    """Something that the sums need is not there; says what to do."""


def _text(stack: str) -> str:
    try:
        return Path(stack_file(stack)).read_text()
    except OSError as error:
        raise Unknown(
            f"{stack_file(stack)} can't be read here ({error.strerror}). Run this in the"
            " project's folder, with the names of stacks that have a file in it."
        ) from None


def _account(stack: str, text: str) -> tuple[str, str]:
    """Token and address of the stack's account; from the stack file, or else the environment."""
    file, given = StackFile(text), {}
    for key, variables in ENVIRONMENT_VARIABLES.items():
        named = [os.environ[each] for each in variables if os.environ.get(each)]
        given[key] = file.text(f"digitalocean:{key}") or (named[0] if named else None)
    if file.storage("digitalocean:token") is Storage.ENCRYPTED:
        try:
            given["token"] = Stack(stack).config_value("digitalocean:token")
        except PulumiError as error:
            raise Unknown(f"The account's token can't be decrypted: {error.message}") from None
    if not given["token"]:
        raise Unknown(
            "Prices come from a DigitalOcean account: export DIGITALOCEAN_TOKEN=... (scopes"
            " sizes:read and registry:read).\n"
            "Without an account, from the sandbox's: bin/sandbox start, then"
            " bin/sandbox run bin/platform costs"
        )
    endpoint = given["apiEndpoint"] or DigitalOcean.model_fields["api_endpoint"].default
    return given["token"], endpoint


def _owner(name: str) -> tuple[str, Registry] | None:
    """The stack here that creates the registry of that name."""
    for path in sorted(Path.cwd().glob(stack_file("*"))):
        stack, text = path.name.split(".", 1)[1].removesuffix(".yaml"), path.read_text()
        if StackFile(text).text(f"{NAMESPACE}:registry", "create") == "true":
            _, registry = billable_sections(stack, text)
            if registry.name == name:
                return stack, registry
    return None


def bills(stacks: Sequence[str]) -> list[bill.Bill]:
    """The bill of each stack, then what the stacks of one account share."""
    found = []
    accounts: dict[tuple[str, str], account.Prices] = {}
    shared: dict[tuple[str, str], str] = {}
    for stack in stacks:
        text = _text(stack)
        cluster, registry = billable_sections(stack, text)
        of = _account(stack, text)
        if of not in accounts:
            accounts[of] = account.read_prices(*of)
        shared.setdefault(of, registry.name)
        service = StackFile(text).text(f"{NAMESPACE}:argocd", "values", "server", "service", "type")
        exposed = service == "LoadBalancer"
        found.append(bill.of_stack(stack, cluster, accounts[of], exposed=exposed))
    return found + [
        bill.of_registry(name, _owner(name), accounts[of]) for of, name in shared.items()
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="bin/platform costs",
        description="What stacks cost per month by DigitalOcean's list prices, whether they are"
        " deployed or not.",
    )
    parser.add_argument("stacks", nargs="*", default=ENVIRONMENTS, metavar="STACK")
    parser.add_argument("--json", action="store_true", help="for programs")
    given = parser.parse_args(arguments)
    try:
        found = bills(list(dict.fromkeys(given.stacks)))
    except (Unknown, SettingsError, account.AccountError) as error:
        print(error, file=sys.stderr)
        return 1
    print(json.dumps(bill.as_json(found), indent=2) if given.json else bill.table(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
