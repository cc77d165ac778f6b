"""Webhooks: events delivered to the addresses that want them, signed, and what came of it.

https://docs.github.com/en/webhooks. As on GitHub, a delivery that failed is not tried again unless
somebody asks for it.
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
from sandbox.github.models import Delivery, Hook, Repository
from sandbox.github.state import OWNER, GitHubState, now

TIMEOUT = 10.0
"""Seconds that a receiver may take
(https://docs.github.com/en/webhooks/testing-and-troubleshooting-webhooks/troubleshooting-webhooks)."""

_KEPT = 50
"""Deliveries of a webhook that are remembered."""
_MOST_COMMITS = 2048
"""Commits of a push that its event lists."""
_FIELDS = "%x1e%H%x1f%T%x1f%an%x1f%ae%x1f%aI%x1f%cn%x1f%ce%x1f%B%x1f"


class Webhooks:
    """Delivers in the background; `close` waits for what is under way."""

    def __init__(self, state: GitHubState, git: GitServer, page: Callable[[str], str]) -> None:
        self._state = state
        self._git = git
        self._page = page
        self._under_way: set[asyncio.Task[None]] = set()

    async def pushed(self, repository: str, user: str, ref: str, old: str, new: str) -> None:
        """Tell the webhooks of a ref that a push has moved (sandbox.git.server.OnPush)."""
        known = self._state.repository(repository)
        if any(_wants(hook, "push") for hook in known.hooks):
            payload = await self._push(known, user, ref, old, new)
            self.send(known, "push", payload)

    def send(
        self, repository: Repository, event: str, payload: dict[str, Any], *, to: Hook | None = None
    ) -> None:
        """Deliver an event to those webhooks that want it, or to one."""
        for hook in [to] if to else [each for each in repository.hooks if _wants(each, event)]:
            self._start(self._deliver(hook, event, payload, str(uuid4()), redelivery=False))

    def ping(self, repository: Repository, hook: Hook) -> None:
        """What every webhook is sent when it is made."""
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
        await asyncio.gather(*self._under_way)

    def describe(self, repository: Repository) -> dict[str, Any]:
        """A repository as events, and the API, tell of it."""
        page = self._page(repository.name)
        return {
            "id": repository.id,
            "name": repository.name,
            "full_name": f"{OWNER}/{repository.name}",
            "private": not self._git.access(repository.name).public,
            "owner": {"login": OWNER, "id": self._state.data.owner_id, "type": "Organization"},
            "html_url": page,
            "clone_url": f"{page}.git",
            "default_branch": self._git.default_branch(repository.name),
            "archived": False,
        }

    def _start(self, delivery: Any) -> None:
        task = asyncio.create_task(delivery)
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    async def _deliver(
        self, hook: Hook, event: str, payload: dict[str, Any], guid: str, *, redelivery: bool
    ) -> None:
        body, headers = _request(hook, event, payload, guid)
        began, start = now(), time.monotonic()
        answer: httpx.Response | None = None
        verified = hook.config.insecure_ssl == "0"
        try:
            async with httpx.AsyncClient(
                verify=verified, timeout=TIMEOUT, trust_env=False
            ) as client:
                answer = await client.post(hook.config.url, content=body, headers=headers)
            status = answer.reason_phrase if answer.is_error else "OK"
        except httpx.TimeoutException:
            status = "timed out"
        except httpx.HTTPError as error:
            status = f"failed to connect to host: {error}"
        delivery = Delivery(
            id=self._state.new_id(),
            guid=guid,
            event=event,
            redelivery=redelivery,
            delivered_at=began,
            duration=round(time.monotonic() - start, 3),
            status=status,
            status_code=answer.status_code if answer else 0,
            request_headers=headers,
            payload=payload,
            response_headers=dict(answer.headers) if answer else {},
            response=answer.text if answer else "",
        )
        with self._state.changing():
            hook.deliveries = [delivery, *hook.deliveries][:_KEPT]

    async def _push(
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
            "forced": not created and not deleted and not await self._follows(repository, old, new),
            "base_ref": None,
            "compare": f"{self._page(repository.name)}/compare/{old[:12]}...{new[:12]}",
            "commits": commits,
            "head_commit": commits[-1] if commits else None,
            "repository": self.describe(repository),
            "pusher": {"name": user, "email": f"{user}@localhost"},
            "sender": {"login": user, "id": sender.id if sender else 0, "type": "User"},
        }

    async def _follows(self, repository: Repository, old: str, new: str) -> bool:
        path = self._git.path(repository.name)
        ahead = await self._git.git(f"--git-dir={path}", "rev-list", "--count", f"{new}..{old}")
        return int(ahead) == 0

    async def _commits(self, name: str, old: str, new: str) -> Sequence[dict[str, Any]]:
        """The new commits, oldest first; of a new ref, its last one."""
        path = self._git.path(name)
        which = ["-1", new] if old == NO_COMMIT else [f"-{_MOST_COMMITS}", f"{old}..{new}"]
        listing = await self._git.git(
            f"--git-dir={path}", "log", "--reverse", "--name-status", "--no-renames",
            f"--format={_FIELDS}", *which,
        )  # fmt: skip
        return [_commit(entry, self._page(name)) for entry in listing.split("\x1e")[1:]]


def _wants(hook: Hook, event: str) -> bool:
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
    """Body and headers of a delivery
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
