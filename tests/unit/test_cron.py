"""Schedules of sync windows, as Argo CD reads them."""

import pytest

from doks_gitops.settings.cron import ever_opens, is_schedule


@pytest.mark.parametrize(
    "schedule",
    [
        "* * * * *",
        "0 22 * * 1-5",
        "*/15 8-17/2 1,15 * ?",
        "0 0 * jan-MAR sun",
        "5/10 0 * * *",
        "0 0 29 2 *",
        "0 0 30 2 1",
        "0 0 30 2 */2",
        "0 0 31 1,2 *",
    ],
)
def test_schedule_has_times(schedule: str) -> None:
    assert is_schedule(schedule)
    assert ever_opens(schedule)


@pytest.mark.parametrize(
    "schedule", ["0 0 30 2 *", "0 0 31 4,6,9,11 ?", "0 0 30,31 feb *", "0 0 30 2 */1"]
)
def test_schedule_without_a_day_that_exists_never_comes(schedule: str) -> None:
    assert is_schedule(schedule)
    assert not ever_opens(schedule)


@pytest.mark.parametrize(
    "schedule",
    [
        "",
        "@daily",
        "0 22 * *",
        "0 0 22 * * *",
        "60 * * * *",
        "0 24 * * *",
        "0 0 0 * *",
        "0 0 * 13 *",
        "0 0 * * 7",
        "0 0 L * *",
        "0 0 * * 1#2",
        "5-1 * * * *",
        "*/0 * * * *",
        "*-5 * * * *",
        "1,,2 * * * *",
        "0 0 * mon *",
        "TZ=UTC 0 0 * * *",
        "\u0663 * * * *",
    ],
)
def test_what_argo_cd_refuses_is_no_schedule(schedule: str) -> None:
    assert not is_schedule(schedule)
