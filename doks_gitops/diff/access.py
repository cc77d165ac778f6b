"""How the repositories of a stack are read, besides the clone."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from doks_gitops.errors import PlatformError
from doks_gitops.settings import Repository
from doks_gitops.settings.load import decoded
from doks_gitops.settings.model import NAMESPACE, Credentials, CredentialTemplate


@dataclass(frozen=True)
class Access:
    """Repositories and credential templates; the credentials in them are in clear."""

    repositories: Sequence[Repository] = ()
    templates: Sequence[CredentialTemplate] = ()

    def fields(self, url: str) -> dict[str, Any]:
        """What Argo CD's `Repository` message has for that URL: credentials and options. A
        repository without credentials takes those of the longest template that fits.

        https://argo-cd.readthedocs.io/en/stable/user-guide/private-repositories/#credential-templates
        """
        own, template = self._own(url), self._template(url)
        credentials = self._credentials(url)
        fields: dict[str, Any] = _fields(credentials) if credentials is not None else {}
        if any(entry is not None and entry.plain_http for entry in (own, template)):
            fields["insecureOCIForceHttp"] = True
        if own is not None and own.enable_lfs:
            fields["enableLfs"] = True
        return fields

    def has_credentials(self, url: str) -> bool:
        """Whether that URL is read with credentials."""
        return self._credentials(url) is not None

    def _credentials(self, url: str) -> Credentials | None:
        own, template = self._own(url), self._template(url)
        if own is not None and own.credentials is not None:
            return own.credentials
        return template.credentials if template is not None else None

    def _own(self, url: str) -> Repository | None:
        return next((entry for entry in self.repositories if same_url(entry.url, url)), None)

    def _template(self, url: str) -> CredentialTemplate | None:
        fits = [entry for entry in self.templates if url.startswith(entry.url)]
        return max(fits, key=lambda entry: len(entry.url), default=None)

    def of_charts(self) -> list[dict[str, Any]]:
        """The repositories of charts, which other charts may depend on."""
        return [
            {
                "repo": entry.url,
                "type": "helm",
                "enableOCI": "://" not in entry.url,
                **self.fields(entry.url),
            }
            for entry in self.repositories
            if entry.type == "helm"
        ]


def read(stack: str, folder: Path, urls: Collection[str]) -> Access:
    """Those of the stack in `folder`, decrypted. Raises `PlatformError`.

    `urls`: the URLs that they had before the change: no change can send credentials elsewhere.
    """
    # Pulumi is needed for this alone.
    from doks_gitops.stack import Stack

    config = Stack(stack, folder).config()
    keys = ("repositories", "credentialTemplates")
    sections = [
        section if isinstance(section, Mapping) else {}
        for key in keys
        for name in [f"{NAMESPACE}:{key}"]
        for section in [decoded(name, config.get(name, "{}"))]
    ]
    try:
        repositories = [Repository.model_validate(entry) for entry in sections[0].values()]
        templates = [CredentialTemplate.model_validate(entry) for entry in sections[1].values()]
    except ValidationError:
        # Its text may have a password in it.
        raise PlatformError(
            f"The repositories of {stack} have errors.", f"pulumi preview --stack {stack}"
        ) from None
    return Access(
        [entry for entry in repositories if entry.url in urls],
        [entry for entry in templates if entry.url in urls],
    )


def _fields(credentials: Credentials) -> dict[str, Any]:
    if credentials.password is not None:
        return {
            "username": credentials.username,
            "password": credentials.password.get_secret_value(),
        }
    if credentials.ssh_private_key is not None:
        return {"sshPrivateKey": credentials.ssh_private_key.get_secret_value()}
    assert credentials.github_app is not None
    return {
        "githubAppID": credentials.github_app.id,
        "githubAppInstallationID": credentials.github_app.installation_id,
        "githubAppPrivateKey": credentials.github_app.private_key.get_secret_value(),
    }


def same_url(url: str, other: str) -> bool:
    """Whether the URLs are equal, but for `.git` at the end."""
    return url.removesuffix(".git") == other.removesuffix(".git")
