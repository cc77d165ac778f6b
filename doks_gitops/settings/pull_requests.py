"""The settings of `pullRequests`: an environment for each pull request with a label."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from doks_gitops.settings import scalars
from doks_gitops.settings.base import ListOf, Model

LONGEST_LIFE = 720
"""Longest time to live in hours: 30 days."""


class Quota(Model):
    """What the pods of one environment may use together."""

    cpu: scalars.Processors = Field(default="2", description="Requested processors.")
    memory: scalars.Memory = Field(default="4Gi", description="Limit of the memory.")
    pods: Annotated[int, Field(ge=1, le=1000)] = Field(default=30, description="Number of pods.")
    storage: scalars.Storage = Field(
        default="0", description="Size of all volume claims.", examples=["10Gi"]
    )
    load_balancers: Annotated[int, Field(ge=0, le=100)] = Field(
        default=0, description="Number of load balancers, each of which is paid for."
    )


class PullRequests(Model):
    """Each open pull request with a label gets an environment: one of the applications, in the
    namespace `pr-<number>`. Needs `github.webhook`. Not in prod."""

    application: scalars.Name = Field(
        description="A name under `applications`, a Kustomize overlay in the repository that "
        "`github` names. The environment has this overlay as the pull request's branch has it.",
        examples=["microservices-demo"],
    )
    webhook_url: scalars.WebhookUrl = Field(
        description="Address of the ApplicationSet controller's `/api/webhook` for GitHub.",
        examples=["https://argocd.example.com/applicationsets/api/webhook"],
    )
    token: scalars.Token | None = Field(
        default=None,
        description="Fine-grained token with *Pull requests: read* (docs/permissions.md). Default: "
        "none, for a public repository.",
    )
    label: scalars.PullRequestLabel = Field(
        default="preview", description="Label of the pull requests that get an environment."
    )
    time_to_live: Annotated[int, Field(ge=1, le=LONGEST_LIFE)] = Field(
        default=24, description="Hours after which `bin/platform pull-requests` takes the label."
    )
    at_once: Annotated[int, Field(ge=1, le=100)] = Field(
        default=5,
        description="Environments at the same time. Kubernetes refuses further ones, and "
        "`bin/platform pull-requests` takes their label.",
    )
    images: ListOf[scalars.ImageName] = Field(
        default=(),
        description="Names of images in the overlay. While the pull request has the label "
        "`<label>-images` too, the environment runs them with its commit as tag.",
        examples=["frontend"],
    )
    quota: Quota = Field(default_factory=Quota, description="Limits of each environment.")
    limits_path: scalars.Folder = Field(
        default="argocd/pull-requests",
        description="Folder in the repository with the chart of the limits, which "
        "`bin/platform layout --limits` writes.",
    )
    service: scalars.Name | None = Field(
        default=None,
        description="Service that the comment on the pull request tells how to reach.",
        examples=["frontend"],
    )
    port: Annotated[int, Field(ge=1, le=65535)] = Field(
        default=80, description="Port of `service`."
    )
