"""Figure 11: guards, taken out one by one."""

from __future__ import annotations

import time

from reliability import guards, mutations
from reliability.figure import Figure, Settings

NUMBER, TITLE = 11, "Guards that are missed"
TARGET = "Every guard in the product has a seed or a test that fails without it."
_QUICK = 2
"""Guards that a quick run takes out."""
_NOTES = (
    "In a copy of the checkout one guard is taken out; what is named must fail then, and must not fail before. The "
    "texts are in [reliability/guards](../reliability/guards), and `python -m reliability.mutations NAME` does some of "
    "them again.",
)


def run(settings: Settings) -> Figure:
    began, wanted = time.monotonic(), guards.everything()
    results = mutations.run(wanted[:_QUICK] if settings.quick else wanted, settings.jobs)
    failures = [
        f"{one.mutation.name}: {one.fate}, {one.by}: `python -m reliability.mutations '{one.mutation.name}'`"
        for one in results
        if one.fate != "killed"
    ]
    return Figure(
        number=NUMBER,
        title=TITLE,
        target=TARGET,
        columns=("guard", "in", "without it", "fails"),
        rows=[_row(one) for one in results],
        verdict="missed" if failures else "met",
        seconds=time.monotonic() - began,
        notes=_NOTES,
        failures=failures,
    )


def _row(one: mutations.Result) -> list[str]:
    place = one.mutation.file.removeprefix("airflow_s3stream/")
    return [one.mutation.name, f"`{place}`", "noticed" if one.fate == "killed" else f"**{one.fate}**", one.by]
