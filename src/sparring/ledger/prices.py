"""The prices of models: the recipe's own, or with "auto" those that the package genai-prices lists.

A listed price is looked up once, by the model's name and the address of its server, and kept in a file of the run. So a
resumed run pays by the same prices, whichever version of the list is installed then. What has no address, such as a
model in this process, is free.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

from sparring.common.errors import ConfigError
from sparring.common.extras import need
from sparring.common.files import read_json, write_json
from sparring.core.attempts import Tokens
from sparring.ledger.budget import GivenPrices, Price

FREE = Price(0.0, 0.0)


@dataclass(frozen=True)
class Listed:
    """A price from a list, in dollars, and the list's name for it."""

    price: Price
    source: str


class Prices:
    """The prices by which a run pays. `path`: the file that keeps the listed ones."""

    def __init__(self, given: GivenPrices, path: Path | None = None) -> None:
        self._given, self._path = given, path
        self._kept: dict[str, Any] = read_json(path) if path is not None and path.exists() else {}

    def of(self, model: str, urls: Sequence[str] = ()) -> Price | None:
        """Return the price of `model`, which the servers at `urls` offer; None if it is unknown."""
        given = "auto" if self._given == "auto" else self._given.get(model)
        if given != "auto":
            return given
        if not urls:
            return FREE
        key = " ".join([model, *urls])  # servers may ask different prices
        if key not in self._kept:
            found = {listed.price: listed for listed in (listed_price(model, url) for url in urls) if listed}
            if len(found) != 1:  # unknown, or the servers differ
                return None
            [listed] = found.values()
            self._kept[key] = {**listed.price._asdict(), "source": listed.source}
            if self._path is not None:
                write_json(self._path, self._kept)
        return Price(self._kept[key]["input"], self._kept[key]["output"])

    def cost(self, model: str, tokens: Tokens, urls: Sequence[str] = ()) -> float:
        """Return the cost of `tokens` of `model`, 0 if its price is unknown."""
        price = self.of(model, urls)
        return price.of(tokens) if price else 0.0

    def missing(self, model: str, urls: Sequence[str] = ()) -> ConfigError | None:
        """Return the error that the price of `model` is unknown; None if it is known."""
        if self.of(model, urls) is not None:
            return None
        if self._given == "auto" or self._given.get(model) == "auto":
            return ConfigError(
                f"genai-prices lists no one price of {model!r} at {' and '.join(urls)}; give it under [budget.prices], "
                f'"{model}" = [input, output] per million tokens (0 if it is free); other models may stay "auto"'
            )
        return ConfigError(f"a budget of money needs the price of {model!r}; add it to budget.prices (0 if it is free)")


def listed_price(model: str, url: str) -> Listed | None:
    """Return the price of `model` at the server `url` from genai-prices; None if it lists none by input and output.

    Of prices that rise with a prompt's length it is the lowest; of those that change with the time of day, the present.
    Raises ConfigError if the package is not installed.
    """
    need("genai_prices", 'budget.prices = "auto"', "'sparring[prices]'")
    snapshot = import_module("genai_prices.data_snapshot").get_snapshot()
    try:
        provider, found = snapshot.find_provider_model(model, None, None, url)
    except LookupError:
        return None
    prices = found.get_prices(datetime.now(tz=UTC))
    amounts = [getattr(price, "base", price) for price in (prices.input_mtok, prices.output_mtok)]
    if None in amounts or getattr(prices, "requests_kcount", None):  # a fee for each request is not in tokens
        return None
    source = f"genai-prices {version('genai-prices')}: {provider.id}/{found.id}"
    return Listed(Price(*map(float, amounts)), source)


def addresses(speaker: Any) -> tuple[str, ...]:
    """Return the addresses of the servers that `speaker` asks; a model in this process or a person has none."""
    return tuple(getattr(speaker, "urls", ()))
