"""Judge prompts and verdicts of published tools: what a judge is asked there, and how its reply is read.

`alpaca_eval`: AlpacaEval 2, `alpaca_eval_clf_gpt4_turbo` (github.com/tatsu-lab/alpaca_eval, Apache-2.0). The tool
weights a verdict by the log-probabilities of its first token; here a verdict counts whole.
`arena_hard`: Arena-Hard v0.1 and the hard prompts of v2.0 (github.com/lmarena/arena-hard-auto, Apache-2.0).
`self_taught_evaluator`: the model card of facebook/Self-taught-evaluator-llama3.1-70B (arXiv 2408.02666), whose prompt
AlpacaEval holds too. It knows no tie.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from sparring.common.errors import Unreadable
from sparring.core.partner import Verdict


@dataclass(frozen=True)
class JudgePreset:
    """A system prompt, a prompt with the placeholders question, a and b, and a reader of replies."""

    system: str
    prompt: str
    read: Callable[[str], Verdict]


def read_identifier(reply: str) -> Verdict:
    """Read the identifier of the best model, m or M, and nothing else; Unreadable otherwise."""
    identifier = reply.strip()
    if identifier not in {"m", "M"}:
        raise Unreadable(f"{identifier[:60]!r} is neither m nor M")
    return "first" if identifier == "m" else "second"


def read_label(reply: str) -> Verdict:
    """Read the last label such as [[A>B]], or if there is none the last such as [A>B]; Unreadable otherwise."""
    text = reply.upper()
    for pattern in (r"\[\[([AB<>=]+)\]\]", r"\[([AB<>=]+)\]"):
        if labels := re.findall(pattern, text):
            if labels[-1] not in _LABELS:
                raise Unreadable(f"the label {labels[-1]!r} is none of A>>B, A>B, A=B, B>A and B>>A")
            return _LABELS[labels[-1]]
    raise Unreadable("there is no label such as [[A>B]]")


def read_letter(reply: str) -> Verdict:
    """Read [[A]] or [[B]], which must stand once; Unreadable otherwise."""
    letters = re.findall(r"\[\[([AB])\]\]", reply)
    if len(letters) != 1:
        raise Unreadable(f"the verdict [[A]] or [[B]] was found {len(letters)} times, not once")
    return "first" if letters == ["A"] else "second"


_LABELS: dict[str, Verdict] = {
    "A>>B": "first by far", "A>B": "first", "A=B": "tie", "B>A": "second", "B>>A": "second by far",
    "B<<A": "first by far", "B<A": "first", "B=A": "tie", "A<B": "second", "A<<B": "second by far",
}  # fmt: skip

_ALPACA_EVAL_SYSTEM = """\
You are a highly efficient assistant, who evaluates and selects the best large language model (LLMs) based on \
the quality of their responses to a given instruction. This process will be used to create a leaderboard \
reflecting the most accurate and human-preferred answers."""

_ALPACA_EVAL = """\
I require a leaderboard for various large language models. I'll provide you with prompts given to these models \
and their corresponding outputs. Your task is to assess these responses, and select the model that produces the \
best output from a human perspective.

## Instruction

{
    "instruction": \"\"\"{question}\"\"\",
}

## Model Outputs

Here are the unordered outputs from the models. Each output is associated with a specific model, identified by a\
 unique model identifier.

{
    {
        "model_identifier": "m",
        "output": \"\"\"{a}\"\"\"
    },
    {
        "model_identifier": "M",
        "output": \"\"\"{b}\"\"\"
    }
}

## Task

Evaluate the models based on the quality and relevance of their outputs, and select the model that generated the\
 best output. Answer by providing the model identifier of the best model. We will use your output as the name of\
 the best model, so make sure your output only contains one of the following model identifiers and nothing else \
(no quotes, no spaces, no new lines, ...): m or M.

## Best Model Identifier"""

_ARENA_HARD_SYSTEM = """\
Please act as an impartial judge and evaluate the quality of the responses provided by two AI assistants to the \
user prompt displayed below. You will be given assistant A's answer and assistant B's answer. Your job is to \
evaluate which assistant's answer is better.

Begin your evaluation by generating your own answer to the prompt. You must provide your answers before judging \
any answers.

When evaluating the assistants' answers, compare both assistants' answers with your answer. You must identify \
and correct any mistakes or inaccurate information.

Then consider if the assistant's answers are helpful, relevant, and concise. Helpful means the answer correctly \
responds to the prompt or follows the instructions. Note when user prompt has any ambiguity or more than one \
interpretation, it is more helpful and appropriate to ask for clarifications or more information from the user \
than providing an answer based on assumptions. Relevant means all parts of the response closely connect or are \
appropriate to what is being asked. Concise means the response is clear and not verbose or excessive.

Then consider the creativity and novelty of the assistant's answers when needed. Finally, identify any missing \
important information in the assistants' answers that would be beneficial to include when responding to the user\
 prompt.

After providing your explanation, you must output only one of the following choices as your final verdict with a\
 label:

1. Assistant A is significantly better: [[A>>B]]
2. Assistant A is slightly better: [[A>B]]
3. Tie, relatively the same: [[A=B]]
4. Assistant B is slightly better: [[B>A]]
5. Assistant B is significantly better: [[B>>A]]

Example output: "My final verdict is tie: [[A=B]]"."""

_ARENA_HARD = """<|User Prompt|>
{question}

<|The Start of Assistant A's Answer|>
{a}
<|The End of Assistant A's Answer|>

<|The Start of Assistant B's Answer|>
{b}
<|The End of Assistant B's Answer|>"""

_SELF_TAUGHT_SYSTEM = """\
Please act as an impartial judge and evaluate the quality of the responses provided by two AI assistants to the \
user question displayed below. You should choose the assistant that follows the user's instructions and answers \
the user's question better. Your evaluation should consider factors such as the helpfulness, relevance, \
accuracy, depth, creativity, and level of detail of their responses. Begin your evaluation by comparing the two \
responses and provide a short explanation. Avoid any position biases and ensure that the order in which the \
responses were presented does not influence your decision. Do not allow the length of the responses to influence\
 your evaluation. Do not favor certain names of the assistants. Be as objective as possible. After providing \
your explanation, output your final verdict by strictly following this format: \\"[[A]]\\" if assistant A is \
better, \\"[[B]]\\" if assistant B is better."""

_SELF_TAUGHT = """[User Question]
{question}

[The Start of Assistant A's Answer]
{a}
[The End of Assistant A's Answer]

[The Start of Assistant B's Answer]
{b}
[The End of Assistant B's Answer]
"""

PRESETS = {
    "alpaca_eval": JudgePreset(_ALPACA_EVAL_SYSTEM, _ALPACA_EVAL, read_identifier),
    "arena_hard": JudgePreset(_ARENA_HARD_SYSTEM, _ARENA_HARD, read_label),
    "self_taught_evaluator": JudgePreset(_SELF_TAUGHT_SYSTEM, _SELF_TAUGHT, read_letter),
}
