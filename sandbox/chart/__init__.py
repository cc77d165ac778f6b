"""Charts: Argo CD's own manifests, for use without the public argo-cd chart, and the team's."""

from sandbox.chart.build import ChartError, build_chart, next_patch, package_chart
from sandbox.chart.private import PrivateCharts
from sandbox.chart.public import can_be_reached
from sandbox.chart.repository import repository

__all__ = [
    "ChartError",
    "PrivateCharts",
    "build_chart",
    "can_be_reached",
    "next_patch",
    "package_chart",
    "repository",
]
