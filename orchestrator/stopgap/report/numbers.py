"""How numbers are told to people: shares in percent, seconds in what fits, everything with as many digits as matter."""

from __future__ import annotations

import math
from dataclasses import dataclass

__all__ = ["Telling", "counted", "power_of_ten"]

NEARLY_ALL = 1 - 1e-6
SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
UNITS_OF_TIME = ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs"), (1e-9, "ns"))


@dataclass(frozen=True)
class Telling:
    """
    Attributes:
        kind: `share`, `seconds`, `count`, or `number`.
    """

    kind: str = "number"

    def told(self, value: float | None) -> str:
        """In a sentence or a table."""
        if value is None or math.isnan(value):
            return "–"
        if math.isinf(value):
            return "∞" if value > 0 else "−∞"
        if self.kind == "share":
            return f"{percent(value)} %"
        if self.kind == "count":
            return f"{value:,.0f}"
        if self.kind == "seconds":
            return seconds(value)
        return number(value)

    def tick(self, value: float) -> str:
        """On an axis, where it is a round number."""
        if self.kind == "share":
            return f"{value * 100:.6g} %".replace("-", "−")
        return self.told(value)


def percent(share: float) -> str:
    """Never rounded up to all, or down to nothing."""
    text = f"{share * 100:.2f}"
    if text == "100.00" and share < 1:
        if share > NEARLY_ALL:
            return f"> {NEARLY_ALL * 100:.4f}"
        text = f"{math.floor(share * 1e6) / 1e4:.4f}"
    elif text in ("0.00", "-0.00") and share:
        return number(share * 100)
    return text.rstrip("0").rstrip(".").replace("-", "−")


def seconds(value: float) -> str:
    for unit, name in UNITS_OF_TIME:
        if abs(value) >= unit or name == "ns":
            return f"{value / unit:.3g} {name}"
    return f"{value:.3g} s"


def number(value: float) -> str:
    """Four digits; very large and very small ones as a power of ten."""
    if value == 0:
        return "0"
    text = f"{value:.4g}"
    return power_of_ten(value) if "e" in text else text.replace("-", "−")


def power_of_ten(value: float) -> str:
    """`2.5·10⁻⁷`, and 1 for 1."""
    mantissa, _, exponent = f"{value:.3e}".partition("e")
    if int(exponent) == 0:
        return f"{value:.4g}".replace("-", "−")
    power = str(int(exponent)).translate(SUPERSCRIPTS)
    mantissa = mantissa.rstrip("0").rstrip(".").replace("-", "−")
    return f"10{power}" if mantissa == "1" else f"{mantissa}·10{power}"


def counted(number: int, one: str, more: str = "") -> str:
    """`1 unit`, `2 units`."""
    return f"{number:,} {one if number == 1 else more or one + 's'}"
