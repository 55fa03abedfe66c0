"""Prices that a list gives: looked up once, kept with the run, and never a silent zero."""

from __future__ import annotations

import asyncio
import json
from importlib.util import find_spec

import pytest

from sparring.common import extras
from sparring.common.errors import ConfigError
from sparring.config.recipe import Recipe
from sparring.core.attempts import Tokens
from sparring.core.chat import question
from sparring.core.speaker import Sampling
from sparring.ledger import Budget, Cap, Ledger, Price, Prices, Recorded, prices, totals
from sparring.ledger.prices import FREE, Listed
from sparring.runs.estimate import estimate
from sparring.runs.run import train
from sparring.speakers.endpoint import Endpoint
from tests.fault_server import say, serving

OPENAI = "https://api.openai.com/v1"
RECIPE = {
    "task": {"kind": "multistep_arithmetic", "range": "easy", "train": 4, "development": 2, "test": 2},
    "phase": [{"method": "saie", "max_tokens": 8,
               "discussant": {"by": "endpoint", "model": "gpt-4.1-mini", "base_url": OPENAI}}],
    "budget": {"prices": "auto"},
}  # fmt: skip


@pytest.fixture
def listed(monkeypatch) -> dict[str, Price]:
    """A list of prices by model, in place of the package."""
    table: dict[str, Price] = {}

    def look_up(model: str, url: str) -> Listed | None:
        return Listed(table[model], f"list: {model}") if model in table else None

    monkeypatch.setattr(prices, "listed_price", look_up)
    return table


def ask(path, words: str, budget: Budget) -> None:
    """Ask a new ledger session at `path` once; the reply bills 10 tokens in and 5 out."""

    async def main() -> None:
        async with serving(say("yes")) as server:
            with Ledger(path / "ledger.sqlite", "run", budget=budget, prices=path / "prices.json") as ledger:
                speaker = Endpoint("m", server.url)
                await Recorded(speaker, ledger, "critic").reply(question(words), Sampling(max_tokens=5), 0)

    asyncio.run(main())


def test_a_listed_price_is_on_the_ledger_and_later_changes_of_the_list_do_not_alter_sums(listed, tmp_path):
    listed["m"] = Price(1e6, 2e6)  # a unit for each token in, two for each token out
    ask(tmp_path, "a", Budget(prices="auto"))
    [total] = totals(tmp_path / "ledger.sqlite", "run")
    paid = total.prompt_tokens + 2 * total.completion_tokens
    assert paid > 0
    assert total.cost == paid
    [kept] = json.loads((tmp_path / "prices.json").read_text()).values()
    assert kept == {"input": 1e6, "output": 2e6, "source": "list: m"}
    listed["m"] = Price(9e6, 9e6)
    with Ledger(tmp_path / "ledger.sqlite", "run", budget=Budget(prices="auto")) as ledger:
        assert ledger.meter.run.money == paid
    replayed = Budget(run=Cap(money=paid + 1), prices="auto")
    with Ledger(tmp_path / "ledger.sqlite", "run", "replay", replayed) as ledger:
        assert ledger.meter.run.money == paid


def test_a_resumed_run_pays_by_the_prices_that_it_kept(listed, tmp_path):
    listed["m"] = Price(1, 2)
    assert Prices("auto", tmp_path / "prices.json").of("m", [OPENAI]) == Price(1, 2)
    listed["m"] = Price(9, 9)
    assert Prices("auto", tmp_path / "prices.json").of("m", [OPENAI]) == Price(1, 2)
    assert Prices("auto", tmp_path / "prices.json").of("m", ["https://elsewhere/v1"]) == Price(9, 9)


def test_a_price_of_the_recipe_is_before_the_list_and_auto_may_stand_for_one_model(listed):
    listed |= {"m": Price(1, 2), "n": Price(3, 4)}
    given = Prices({"m": Price(5, 6), "n": "auto"})
    assert given.of("m", [OPENAI]) == Price(5, 6)
    assert given.of("n", [OPENAI]) == Price(3, 4)
    assert given.of("o", [OPENAI]) is None


def test_what_has_no_address_is_free_under_auto_only(listed):
    assert Prices("auto").of("m") == FREE
    assert Prices({}).of("m") is None


def test_an_unknown_model_costs_nothing_unless_money_is_capped_and_is_then_named(listed):
    assert Prices("auto").cost("mine", Tokens(10, 10), ["http://box:8000/v1"]) == 0
    unknown = {**RECIPE, "budget": {"prices": "auto", "run": {"money": 1.0}}}
    with pytest.raises(ConfigError) as error:
        train(Recipe.read(unknown), "never-written")
    assert str(error.value) == (
        "genai-prices lists no one price of 'gpt-4.1-mini' at https://api.openai.com/v1; give it under "
        '[budget.prices], "gpt-4.1-mini" = [input, output] per million tokens (0 if it is free); other models may '
        'stay "auto"'
    )


def test_an_unknown_price_stops_a_request_before_it_is_sent(listed, tmp_path):
    with pytest.raises(ConfigError, match="lists no one price of 'm'"):
        ask(tmp_path, "a", Budget(run=Cap(money=1.0), prices="auto"))
    assert totals(tmp_path / "ledger.sqlite", "run") == []


def test_an_estimate_uses_the_list(listed):
    listed["gpt-4.1-mini"] = Price(0.4, 1.6)
    rows = estimate(Recipe.read(RECIPE), episodes=2).lines
    assert [row.price for row in rows] == [Price(0.4, 1.6)]
    assert rows[0].cost(1_000_000) == pytest.approx(1.6 + rows[0].prompt * 0.4e-6)


@pytest.mark.parametrize("text", ["auto", '{m = "auto", n = [1.0, 2.0]}'])
def test_auto_is_read_and_written(text):
    recipe = Recipe.read({**RECIPE, "budget": {}}, [f"budget.prices={text}"])
    assert Recipe.of(recipe.table()).budget == recipe.budget
    with pytest.raises(ConfigError, match=r"in \[budget\]: prices = 'automatic'"):
        Recipe.read(RECIPE, ["budget.prices=automatic"])


def test_the_missing_package_is_named_before_a_model_is_loaded(monkeypatch, tmp_path):
    monkeypatch.setattr(extras, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"'?budget.prices = \"auto\"'? needs genai_prices.*'sparring\[prices\]'"):
        train(Recipe.read(RECIPE), tmp_path / "run")


@pytest.mark.skipif(find_spec("genai_prices") is None, reason="genai-prices is not installed")
def test_the_package_lists_models_by_their_server():
    at_openai = prices.listed_price("gpt-4.1-mini", OPENAI)
    assert at_openai.price == Price(0.4, 1.6)  # as published since April 2025
    assert at_openai.source.endswith(": openai/gpt-4.1-mini")
    assert prices.listed_price("openai/gpt-4.1-mini", "https://openrouter.ai/api/v1").price.input > 0
    assert prices.listed_price("gpt-4.1-mini", "http://127.0.0.1:8000/v1") is None
    assert prices.listed_price("no-such-model", OPENAI) is None
    assert prices.listed_price("gemini-2.5-pro", "https://generativelanguage.googleapis.com/v1beta").price.input > 0
