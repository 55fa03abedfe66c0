"""A reward model as a speaker: exact scores, alone or in a batch, and errors for other models."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from sparring.common.errors import ConfigError, TooLong, Unavailable
from sparring.core.chat import LEARNER, USER, Chat, question
from sparring.core.speaker import Sampling
from sparring.models.tiny import tiny_tokenizer
from sparring.speakers.reward import Reward
from tests.reward_model import save_reward_model

COMMIT = "0123456789abcdef0123456789abcdef01234567"
TEXTS = ["Yes.", "No, and that for many reasons.", "é" * 40, "", "Perhaps <end>"]


@pytest.fixture(scope="module", params=[True, False], ids=["with padding token", "without"])
def folder(request, tmp_path_factory) -> str:
    return save_reward_model(tmp_path_factory.mktemp("reward"), pad=request.param)


def chats(texts=TEXTS) -> list[Chat]:
    return [question("Is it so?", "Be brief.").say(LEARNER, text) for text in texts]


def test_scores_without_a_column_of_their_own_are_read_too(folder, monkeypatch):
    """ArmoRM's output has one number a row, and no column."""
    reward = Reward(folder, device="cpu")
    expected, forward = scores(reward, chats()), reward.scorer.network.forward

    def flat(**inputs):
        output = forward(**inputs)
        output.logits = output.logits[:, 0]
        return output

    monkeypatch.setattr(reward.scorer.network, "forward", flat)
    assert scores(reward, chats()) == expected


def scores(reward: Reward, asked: list[Chat]) -> list[float]:
    async def all_() -> list[float]:
        asking = asyncio.gather(*(reward.reply(chat, Sampling(), n) for n, chat in enumerate(asked)))
        replies = await asyncio.wait_for(asking, 60)
        return [float(reply.text) for reply in replies]

    return asyncio.run(all_())


def own_score(folder: str, text: str) -> float:
    """Return the scores computed with transformers alone: one row at a time, with the template, without padding."""
    network = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    said = [("system", "Be brief."), ("user", "Is it so?"), ("assistant", text)]
    ids = tokenizer.apply_chat_template([{"role": r, "content": c} for r, c in said], return_tensors="pt")
    with torch.no_grad():
        return network(ids if isinstance(ids, torch.Tensor) else ids["input_ids"]).logits.item()


def test_a_batch_of_many_is_as_many_batches_of_one_and_both_are_the_models_own_score(folder):
    many = scores(Reward(folder, device="cpu"), chats())
    assert many == pytest.approx([own_score(folder, text) for text in TEXTS], abs=1e-6)
    alone = Reward(folder, device="cpu", batch_tokens=1)  # no two rows fit
    assert scores(alone, chats()) == pytest.approx(many, abs=1e-6)
    assert len({round(score, 6) for score in many}) == len(TEXTS)


def test_what_is_asked_together_is_scored_together_within_the_limit(folder, monkeypatch):
    reward = Reward(folder, device="cpu", batch_tokens=200)
    lengths = [len(reward.scorer.ids(chat)) for chat in chats()]
    batches, compute = [], reward.scorer.scores
    monkeypatch.setattr(reward.scorer, "scores", lambda rows: batches.append([*map(len, rows)]) or compute(rows))
    scores(reward, chats())
    assert sorted(length for batch in batches for length in batch) == sorted(lengths)
    assert all(len(batch) * max(batch) <= 200 or len(batch) == 1 for batch in batches)
    assert len(batches) < len(lengths)


def test_who_asks_a_few_passes_of_the_event_loop_later_is_scored_with_the_others(folder, monkeypatch):
    reward = Reward(folder, device="cpu")
    batches, compute = [], reward.scorer.scores
    monkeypatch.setattr(reward.scorer, "scores", lambda rows: batches.append(len(rows)) or compute(rows))

    async def later(chat: Chat, passes: int) -> None:
        for _ in range(passes):
            await asyncio.sleep(0)
        await reward.reply(chat, Sampling())

    async def all_() -> None:
        await asyncio.gather(*(later(chat, passes) for passes, chat in enumerate(chats())))

    asyncio.run(all_())
    assert batches == [len(TEXTS)]


def test_the_reply_is_the_number_in_full_and_counts_the_tokens_read(folder):
    reply = asyncio.run(Reward(folder, device="cpu").reply(chats()[0], Sampling()))
    assert reply.text == repr(float(reply.text))
    assert reply.prompt_tokens == len("Be brief.Is it so?Yes.") + 7  # <bos>, three marks of roles, three ends
    assert reply.completion_tokens == 0


def test_a_call_is_known_by_model_revision_and_chat_with_the_learner_as_the_assistant():
    asked = question("One?").say(LEARNER, "1").say(USER, "Two?").say(LEARNER, "2")
    request = Reward("owner/model", revision="main").request(asked, Sampling(0.3), 7)
    assert request["model"] == "owner/model"
    assert request["revision"] == "main"
    assert [m["role"] for m in request["messages"]] == ["user", "assistant", "user", "assistant"]
    assert request == Reward("owner/model", revision="main", batch_tokens=9).request(asked, Sampling(), 0)
    assert "sample" not in request


def test_judges_with_the_same_settings_share_the_model(folder):
    assert Reward(folder, device="cpu").scorer is Reward(folder, device="cpu").scorer


def test_a_template_that_takes_no_system_message_gets_its_words_with_the_question(tmp_path):
    folder = save_reward_model(tmp_path)
    refusing = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system') }}{% endif %}"
    rest = "{% for m in messages %}<{{ m['role'] }}>{{ m['content'] }}<end>{% endfor %}"
    (tmp_path / "chat_template.jinja").write_text(refusing + rest)
    scorer = Reward(folder, device="cpu").scorer
    assert scorer.ids(chats()[0]) == scorer.ids(question("Be brief.\n\nIs it so?").say(LEARNER, "Yes."))
    (tmp_path / "strict").mkdir()
    strict = save_reward_model(tmp_path / "strict")
    (tmp_path / "strict" / "chat_template.jinja").write_text("{{ raise_exception('not today') }}")
    with pytest.raises(ConfigError, match="the reward model's chat template refuses a chat: not today"):
        scores(Reward(strict, device="cpu"), chats()[:1])


# ── failures ────────────────────────────────────────────────────────────────────────────────────────────────


def test_what_is_too_long_is_a_typed_failure_and_never_cut(folder):
    reward = Reward(folder, device="cpu")
    room = 256 - len(reward.scorer.ids(chats([""])[0]))
    assert scores(reward, chats(["x" * room]))
    with pytest.raises(TooLong, match="question and response have 257 tokens; the reward model takes 256"):
        scores(reward, chats(["x" * (room + 1)]))


def test_a_score_that_is_no_number_is_no_reply(tmp_path):
    folder = save_reward_model(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    weights["score.weight"][:] = torch.nan
    save_file(weights, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(Unavailable, match="the score is nan"):
        scores(Reward(folder, device="cpu"), chats()[:1])


def test_whoever_waits_is_told_what_went_wrong_and_the_next_is_served(folder, monkeypatch):
    reward = Reward(folder, device="cpu")
    with monkeypatch.context() as patch:
        patch.setattr(reward.scorer, "scores", lambda rows: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            scores(reward, chats()[:1])
    assert scores(reward, chats()[:1])


def test_one_who_no_longer_waits_holds_up_nobody(folder):
    async def two() -> str:
        reward = Reward(folder, device="cpu")
        gone, stays = (asyncio.create_task(reward.reply(chat, Sampling())) for chat in chats()[:2])
        await asyncio.sleep(0)
        gone.cancel()
        return (await asyncio.wait_for(stays, 20)).text

    assert float(asyncio.run(two())) == pytest.approx(scores(Reward(folder, device="cpu"), chats()[1:2])[0])


def test_a_question_without_a_response_is_refused():
    with pytest.raises(ConfigError, match="scores responses and cannot reply to a prompt; it can only be a judge"):
        asyncio.run(Reward("owner/model").reply(question("Which is better?"), Sampling()))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"labels": 3}, "has 3 outputs; a reward model must have 1"),
        ({"labels": 2}, "has 2 outputs; a reward model must have 1"),
        ({"template": False}, "has no chat template"),
    ],
)
def test_what_is_no_reward_model_is_refused_in_a_line(changes, words, tmp_path):
    folder = save_reward_model(tmp_path, **changes)
    with pytest.raises(ConfigError, match=words) as error:
        scores(Reward(folder, device="cpu"), chats()[:1])
    assert str(error.value).startswith(f"model = {folder!r} ")
    assert "; give a folder or hub id of a sequence-classification model" in str(error.value)
    assert "\n" not in str(error.value)


def test_weights_without_a_head_for_scores_are_refused(tmp_path):
    folder = save_reward_model(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    del weights["score.weight"]
    save_file(weights, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(ConfigError, match=r"lacks the weights score\.weight, so its scores would be noise"):
        scores(Reward(folder, device="cpu"), chats()[:1])


def test_a_folder_without_a_model_and_a_model_of_no_such_kind_are_refused_in_a_line(tmp_path):
    with pytest.raises(ConfigError, match="cannot be loaded: ") as error:
        scores(Reward(str(tmp_path), device="cpu"), chats()[:1])
    assert "\n" not in str(error.value)
    tiny_tokenizer().save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "clip_text_model", "num_labels": 1}))
    with pytest.raises(ConfigError, match="cannot be loaded: ") as error:
        scores(Reward(str(tmp_path), device="cpu"), chats()[:1])
    assert "\n" not in str(error.value)


# ── code that comes with a model ────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("revision", [None, "main", "v1.0", COMMIT[:12], COMMIT.upper(), COMMIT + "0"])
def test_code_of_a_model_is_run_from_a_pinned_commit_alone(revision):
    with pytest.raises(ConfigError, match=r"needs a commit as revision \(got .*\); give its 40 hexadecimal digits"):
        Reward("owner/model", revision, trust_remote_code=True)
    assert Reward("owner/model", COMMIT, trust_remote_code=True)


def test_a_folder_has_no_revision_and_no_pinned_code(tmp_path):
    with pytest.raises(ConfigError, match=r"a folder has no revision .*; remove it"):
        Reward(str(tmp_path), COMMIT)
    with pytest.raises(ConfigError, match="code in a folder may change at any time; give a hub id"):
        Reward(str(tmp_path), COMMIT, trust_remote_code=True)


@pytest.mark.parametrize("trusted", [True, False])
def test_code_is_trusted_only_where_the_partner_says_so_and_all_of_it_is_pinned(trusted, monkeypatch):
    calls = []

    def loading(name, **how):
        calls.append(how)
        raise OSError("not today\nnor tomorrow")

    monkeypatch.setattr("transformers.AutoConfig.from_pretrained", loading)
    monkeypatch.setattr("sparring.models.hub.hub_problem", lambda model, kind: None)  # the hub has it
    with pytest.raises(ConfigError, match="model = 'owner/model' cannot be loaded: not today; give"):
        Reward("owner/model", COMMIT, trust_remote_code=trusted).scorer  # noqa: B018 (loads)
    assert calls == [{"trust_remote_code": trusted, "revision": COMMIT, "code_revision": COMMIT}]


def test_code_in_a_folder_is_not_run(tmp_path):
    """A folder whose config names its own code is rejected without running the code."""
    folder = save_reward_model(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config |= {
        "model_type": "own",
        "auto_map": {"AutoConfig": "code.Own", "AutoModelForSequenceClassification": "code.M"},
    }
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "code.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    with pytest.raises(ConfigError, match=r"cannot be loaded: it comes with its own code.*trust_remote_code = true"):
        scores(Reward(folder, device="cpu"), chats()[:1])
    assert not Path(tmp_path / "ran").exists()


OWN_CODE = """
from transformers import AutoModel, LlamaConfig, LlamaForSequenceClassification, LlamaModel
class OwnConfig(LlamaConfig): model_type = "own"
class OwnModel(LlamaModel): config_class = OwnConfig
class OwnScores(LlamaForSequenceClassification): config_class = OwnConfig
AutoModel.register(OwnConfig, OwnModel)
"""
PROGRAM = f"""
import asyncio, sys
from sparring.core.chat import question
from sparring.core.speaker import Sampling
from sparring.speakers.reward import Reward
reward = Reward("owner/model", "{COMMIT}", trust_remote_code=True, device="cpu")
print(asyncio.run(reward.reply(question("Is it so?", "Be brief.").say("learner", "Yes."), Sampling())).text)
"""


def test_a_model_with_code_of_its_own_is_scored_from_its_commit(tmp_path):
    """Runs in a new process, because the path of the hub's cache is read at the start."""
    snapshot = tmp_path / "hub" / "models--owner--model" / "snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    folder = save_reward_model(snapshot)
    wanted = own_score(folder, "Yes.")
    config = json.loads((snapshot / "config.json").read_text())
    classes = {"AutoConfig": "own.OwnConfig", "AutoModelForSequenceClassification": "own.OwnScores"}
    (snapshot / "config.json").write_text(json.dumps({**config, "model_type": "own", "auto_map": classes}))
    (snapshot / "own.py").write_text(OWN_CODE)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False,
        env={**os.environ, "HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) == pytest.approx(wanted, abs=1e-6)
