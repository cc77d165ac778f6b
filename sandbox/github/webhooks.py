"""Delivers signed webhook events, and records the deliveries.

https://docs.github.com/en/webhooks. As on GitHub, a failed delivery is repeated only on request.
"""

import asyncio
import hashlib
import hmac
import json
import time
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import urlencode
from uuid import uuid4

import httpx

from sandbox.git import GitServer
from sandbox.git.rules import NO_COMMIT
from sandbox.github.models import Delivery, Hook, Issue, PullRequest, Repository
from sandbox.github.state import OWNER, GitHubState, now

TIMEOUT = 10.0
"""Seconds for a receiver's response
(https://docs.github.com/en/webhooks/testing-and-troubleshooting-webhooks/troubleshooting-webhooks)."""

_KEPT = 50
"""Number of deliveries that are kept for each webhook."""
_MOST_COMMITS = 2048
"""The most commits that a push event lists."""
_FIELDS = "%x1e%H%x1f%T%x1f%an%x1f%ae%x1f%aI%x1f%cn%x1f%ce%x1f%B%x1f"


class Webhooks:
    """Delivers in the background; `close` waits for unfinished deliveries."""

    def __init__(
        self, state: GitHubState, git: GitServer, page: Callable[[str], str], api_url: str
    ) -> None:
        self._api_url = api_url
        self._state = state
        self._git = git
        self._page = page
        self._deliveries: set[asyncio.Task[None]] = set()

    async def on_push(self, repository: str, user: str, ref: str, old: str, new: str) -> None:
        """Send a push event for a ref that a push has moved (sandbox.git.server.OnPush)."""
        record = self._state.repository(repository)
        if any(_subscribes(hook, "push") for hook in record.hooks):
            payload = await self._push_payload(record, user, ref, old, new)
            self.send(record, "push", payload)

    def pull_request(
        self,
        repository: Repository,
        issue: Issue,
        action: str,
        user: str,
        label: str | None = None,
    ) -> None:
        """Send an event of a pull request. `label`: the one that was added or removed.

        https://docs.github.com/en/webhooks/webhook-events-and-payloads#pull_request
        """
        pull = issue.pull_request
        if pull is None:
            return
        sender = self._state.user(user)
        payload = {
            "action": action,
            "number": issue.number,
            "pull_request": {
                "number": issue.number,
                "title": issue.title,
                "state": issue.state,
                "user": {"login": issue.user},
                "html_url": f"{self._page(repository.name)}/pull/{issue.number}",
                "labels": [{"name": name} for name in issue.labels],
                "merged": pull.merged_commit is not None,
                **self.branches(repository, pull),
            },
            **({"label": {"name": label}} if label is not None else {}),
            "repository": self.describe(repository),
            "sender": {"login": user, "id": sender.id if sender else 0, "type": "User"},
        }
        self.send(repository, "pull_request", payload)

    def branches(self, repository: Repository, pull: PullRequest) -> dict[str, Any]:
        """What a pull request proposes, and for which branch."""
        owner = pull.fork or OWNER
        return {
            "head": {
                "ref": pull.head,
                "sha": pull.head_commit,
                "label": f"{owner}:{pull.head}",
                "repo": {"full_name": f"{owner}/{repository.name}", "fork": pull.fork is not None},
            },
            "base": {
                "ref": pull.base,
                "label": f"{OWNER}:{pull.base}",
                "repo": {"full_name": f"{OWNER}/{repository.name}", "fork": False},
            },
        }

    def send(
        self, repository: Repository, event: str, payload: dict[str, Any], *, to: Hook | None = None
    ) -> None:
        """Deliver an event to the hook `to`, or to all that subscribe to the event."""
        hooks = [to] if to else [hook for hook in repository.hooks if _subscribes(hook, event)]
        for hook in hooks:
            self._start(self._deliver(hook, event, payload, str(uuid4()), redelivery=False))

    def ping(self, repository: Repository, hook: Hook) -> None:
        """Send the event that every new webhook gets."""
        payload = {
            "zen": "Design for failure.",
            "hook_id": hook.id,
            "repository": self.describe(repository),
        }
        self.send(repository, "ping", payload, to=hook)

    def redeliver(self, hook: Hook, delivery: Delivery) -> None:
        self._start(
            self._deliver(hook, delivery.event, delivery.payload, delivery.guid, redelivery=True)
        )

    async def close(self) -> None:
        await asyncio.gather(*self._deliveries)

    def describe(self, repository: Repository) -> dict[str, Any]:
        """The repository's JSON in events and in the API."""
        page = self._page(repository.name)
        return {
            "id": repository.id,
            "name": repository.name,
            "full_name": f"{OWNER}/{repository.name}",
            "private": not self._git.access(repository.name).public,
            "owner": {"login": OWNER, "id": self._state.data.owner_id, "type": "Organization"},
            "html_url": page,
            "url": f"{self._api_url}/repos/{OWNER}/{repository.name}",
            "clone_url": f"{page}.git",
            "default_branch": self._git.default_branch(repository.name),
            "archived": False,
        }

    def _start(self, delivery: Any) -> None:
        task = asyncio.create_task(delivery)
        self._deliveries.add(task)
        task.add_done_callback(self._deliveries.discard)

    async def _deliver(
        self, hook: Hook, event: str, payload: dict[str, Any], guid: str, *, redelivery: bool
    ) -> None:
        body, headers = _request(hook, event, payload, guid)
        delivered_at, started = now(), time.monotonic()
        response: httpx.Response | None = None
        verify = hook.config.insecure_ssl == "0"
        try:
            async with httpx.AsyncClient(verify=verify, timeout=TIMEOUT, trust_env=False) as client:
                response = await client.post(hook.config.url, content=body, headers=headers)
            status = response.reason_phrase if response.is_error else "OK"
        except httpx.TimeoutException:
            status = "timed out"
        except httpx.HTTPError as error:
            status = f"failed to connect to host: {error}"
        delivery = Delivery(
            id=self._state.new_id(),
            guid=guid,
            event=event,
            redelivery=redelivery,
            delivered_at=delivered_at,
            duration=round(time.monotonic() - started, 3),
            status=status,
            status_code=response.status_code if response is not None else 0,
            request_headers=headers,
            payload=payload,
            response_headers=dict(response.headers) if response is not None else {},
            response=response.text if response is not None else "",
        )
        with self._state.changing():
            hook.deliveries = [delivery, *hook.deliveries][:_KEPT]

    async def _push_payload(
        self, repository: Repository, user: str, ref: str, old: str, new: str
    ) -> dict[str, Any]:
        """https://docs.github.com/en/webhooks/webhook-events-and-payloads#push"""
        created, deleted = old == NO_COMMIT, new == NO_COMMIT
        commits = [] if deleted else await self._commits(repository.name, old, new)
        sender = self._state.user(user)
        return {
            "ref": ref,
            "before": old,
            "after": new,
            "created": created,
            "deleted": deleted,
            "forced": not created and not deleted and await self._is_forced(repository, old, new),
            "base_ref": None,
            "compare": f"{self._page(repository.name)}/compare/{old[:12]}...{new[:12]}",
            "commits": commits,
            "head_commit": commits[-1] if commits else None,
            "repository": self.describe(repository),
            "pusher": {"name": user, "email": f"{user}@localhost"},
            "sender": {"login": user, "id": sender.id if sender else 0, "type": "User"},
        }

    async def _is_forced(self, repository: Repository, old: str, new: str) -> bool:
        path = self._git.path(repository.name)
        lost = await self._git.git(f"--git-dir={path}", "rev-list", "--count", f"{new}..{old}")
        return int(lost) != 0

    async def _commits(self, name: str, old: str, new: str) -> Sequence[dict[str, Any]]:
        """The new commits, oldest first; for a new ref, its last commit."""
        path = self._git.path(name)
        revisions = ["-1", new] if old == NO_COMMIT else [f"-{_MOST_COMMITS}", f"{old}..{new}"]
        listing = await self._git.git(
            f"--git-dir={path}", "log", "--reverse", "--name-status", "--no-renames",
            f"--format={_FIELDS}", *revisions,
        )  # fmt: skip
        return [_commit(entry, self._page(name)) for entry in listing.split("\x1e")[1:]]


def _subscribes(hook: Hook, event: str) -> bool:
    return hook.active and (event in hook.events or "*" in hook.events)


def _commit(entry: str, page: str) -> dict[str, Any]:
    commit, tree, author, author_mail, at, committer, mail, message, files = entry.split("\x1f")
    changed: dict[str, list[str]] = {"A": [], "D": [], "M": []}
    for line in files.splitlines():
        kind, _, path = line.partition("\t")
        if path:
            changed["M" if kind not in changed else kind].append(path)
    return {
        "id": commit,
        "tree_id": tree,
        "distinct": True,
        "message": message.rstrip("\n"),
        "timestamp": at,
        "url": f"{page}/commit/{commit}",
        "author": {"name": author, "email": author_mail},
        "committer": {"name": committer, "email": mail},
        "added": changed["A"],
        "removed": changed["D"],
        "modified": changed["M"],
    }


def _request(
    hook: Hook, event: str, payload: dict[str, Any], guid: str
) -> tuple[bytes, dict[str, str]]:
    """The body and headers of a delivery
    (https://docs.github.com/en/webhooks/webhook-events-and-payloads#delivery-headers)."""
    text = json.dumps(payload, separators=(",", ":"))
    form = hook.config.content_type == "form"
    body = (urlencode({"payload": text}) if form else text).encode()
    headers = {
        "Content-Type": "application/x-www-form-urlencoded" if form else "application/json",
        "User-Agent": "GitHub-Hookshot/sandbox",
        "X-GitHub-Delivery": guid,
        "X-GitHub-Event": event,
        "X-GitHub-Hook-ID": str(hook.id),
        "X-GitHub-Hook-Installation-Target-Type": "repository",
    }
    if hook.config.secret:
        key = hook.config.secret.encode()
        headers["X-Hub-Signature"] = f"sha1={hmac.new(key, body, hashlib.sha1).hexdigest()}"
        headers["X-Hub-Signature-256"] = f"sha256={hmac.new(key, body, hashlib.sha256).hexdigest()}"
    return body, headers
