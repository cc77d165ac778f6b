"""A whole region is down, and with it the volumes of the applications: they are restored from their
copies in another region."""

import secrets
from collections.abc import Collection

import requests
from requests_aws4auth import AWS4Auth

from sandbox import toolchain
from sandbox.drills.drill import DEV, Context, Drill
from sandbox.drills.lost_volumes import (
    applications,
    bound,
    checksum,
    configure,
    folder,
    volumes_of,
    write,
)
from sandbox.toolchain.recipes import RECIPES, RESTIC


def run(context: Context) -> None:
    context.bring_up()
    region = context.the_cluster()["context"].split("-")[1]
    new_region, other = [slug for slug in ("nyc1", "sfo3", "fra1") if slug != region][:2]
    toolchain.ensure(context.console, (*RECIPES, RESTIC))
    bucket = f"drill-{secrets.token_hex(4)}"
    _make_bucket(context, bucket)
    settings = {"snapshots.keep": "2", "copies.bucket": bucket, "copies.region": other}
    with applications(context, settings) as volumes:
        saved, newest = _copied(context, volumes)
        with context.region_down(region):
            context.lose(f"the region {region}, with the volumes of the applications")
            _refused(context, "is not lost")
            configure(context, "doks-gitops:cluster.region", new_region)
            _refused(context, "--abandon-cluster")
            refusal = _refused(context, "--from-copies", "--abandon-cluster")
            context.check(
                refusal.count("min old; what came after it would be lost") == len(volumes),
                f"the refusal does not tell what would be lost:\n{refusal}",
            )
            wrong = {"RESTIC_PASSWORD": secrets.token_hex(24)}
            options = ("--abandon-cluster", "--from-copies")
            _refused(context, "with another password", *options, **wrong)
            context.recover(*options)
            _check_restored(context, volumes, saved, newest, new_region)
            context.unchanged()


def _make_bucket(context: Context, bucket: str) -> None:
    """As with the control panel, the bucket is made beforehand."""
    key = context.daemon.spaces
    auth = AWS4Auth(key["id"], key["secret"], "us-east-1", "s3")
    requests.put(f"{context.daemon.url}/{bucket}", auth=auth, timeout=30).raise_for_status()


def _copied(context: Context, volumes: dict[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    """Copy the volumes, and write more; returns the checksums of the copies and of the volumes."""
    context.command("bin/platform", "volumes", "record", "--stack", DEV)
    context.command("bin/platform", "volumes", "snapshot", "--stack", DEV, "--now")
    saved = {name: checksum(folder(context, volume)) for name, volume in volumes.items()}
    for volume in volumes.values():
        write(folder(context, volume))
    context.command("bin/platform", "volumes", "copy", "--stack", DEV)
    _check_nothing_left(context, volumes.values())
    return saved, {name: checksum(folder(context, volume)) for name, volume in volumes.items()}


def _refused(context: Context, text: str, *options: str, **variables: str) -> str:
    """Run the recovery command, which refuses with that text, and changes nothing."""
    before = (context.the_cluster()["id"], sorted(str(x["id"]) for x in volumes_of(context)))
    refusal = context.platform_recover(*options, fails=True, **variables)
    context.check(text in refusal, f"the refusal lacks {text!r}:\n{refusal}")
    after = (context.the_cluster()["id"], sorted(str(x["id"]) for x in volumes_of(context)))
    context.check(before == after, "a refused command has changed the account")
    return refusal


def _check_restored(
    context: Context,
    former: dict[str, str],
    saved: dict[str, str],
    newest: dict[str, str],
    region: str,
) -> None:
    restored = bound(context)
    regions = {str(x["id"]): x["region"]["slug"] for x in volumes_of(context)}
    for name in former:
        context.check(regions[restored[name]] == region, f"{name} has no volume in {region}")
        restored_files, former_files = (folder(context, x[name]) for x in (restored, former))
        context.check(checksum(restored_files) == saved[name], f"{name} has not what was copied")
        context.check(checksum(former_files) == newest[name], "the former volume was changed")
    _check_nothing_left(context, [*former.values(), *restored.values()])


def _check_nothing_left(context: Context, volumes: Collection[str]) -> None:
    """Check that the account has these volumes alone, and the cluster nothing of the copies."""
    context.check(
        sorted(str(x["id"]) for x in volumes_of(context)) == sorted(volumes),
        "the account has other volumes than those of the claims",
    )
    namespaces = context.kubectl("get", "namespaces", "-o", "name").split()
    context.check("namespace/volume-copies" not in namespaces, "the namespace of copies is left")
    claims = context.kubectl(
        "get", "persistentvolumes", "-o", "jsonpath={.items[*].spec.claimRef.namespace}"
    )
    context.check("volume-copies" not in claims, "a PersistentVolume of the copies is left")


DRILL = Drill(
    "lost-region-volumes",
    "A stack whose region is down gets its data in another one, as it was when it was copied.",
    run,
    limit=150,
)
