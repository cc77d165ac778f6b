"""Argo CD's own manifests as a Helm chart, for use without the public argo-cd chart."""

from sandbox.chart.build import ChartError, build_chart, next_patch
from sandbox.chart.public import can_be_reached
from sandbox.chart.repository import repository

__all__ = ["ChartError", "build_chart", "can_be_reached", "next_patch", "repository"]
