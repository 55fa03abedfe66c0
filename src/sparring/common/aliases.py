"""What users of other tools type, and what to write here instead: for the suggestion of an error only.

`PLACES` names the key (or the name) that means the same, with its table. `ADVICE` is for words without such a key here,
or whose key is not found where they are typed; it is an imperative that ends an error's line.
"""

from __future__ import annotations

from collections.abc import Collection

PLACES = {
    # tables
    "training": "trainer", "training_args": "trainer", "train_args": "trainer", "phases": "phase", "stages": "phase",
    "model": "learner.model", "lora": "learner.lora", "peft": "learner.lora", "method": "phase.method",
    # the model: transformers, peft, axolotl, unsloth
    "model_name": "learner.model", "model_name_or_path": "learner.model", "base_model": "learner.model",
    "peft_config": "learner.lora", "adapter": "learner.lora", "r": "learner.lora.rank", "lora_r": "learner.lora.rank",
    "lora_rank": "learner.lora.rank", "lora_alpha": "learner.lora.alpha", "lora_dropout": "learner.lora.dropout",
    "target_modules": "learner.lora.targets", "lora_target_modules": "learner.lora.targets",
    "torch_dtype": "learner.dtype", "load_in_4bit": "learner.quantization", "enable_thinking": "learner.thinking",
    # the optimiser
    "learning_rate": "trainer.learning_rate", "lr": "trainer.learning_rate", "batch_size": "trainer.batch_size",
    "batch": "trainer.batch_size", "per_device_train_batch_size": "trainer.batch_size",
    "train_batch_size": "trainer.batch_size", "micro_batch_size": "trainer.batch_size",
    "lr_scheduler_type": "trainer.lr_schedule", "scheduler": "trainer.lr_schedule", "schedule": "trainer.lr_schedule",
    "warm_up": "trainer.warmup", "optim": "trainer.optimizer", "gradient_clipping": "trainer.max_grad_norm",
    "adam_beta1": "trainer.adam_betas", "adam_beta2": "trainer.adam_betas",
    # a phase
    "epochs": "phase.epochs", "num_train_epochs": "phase.epochs", "num_epochs": "phase.epochs",
    "rounds": "phase.rounds", "num_iterations": "phase.rounds", "iterations": "phase.rounds",
    "max_tokens": "phase.max_tokens", "max_new_tokens": "phase.max_tokens",
    "max_completion_length": "phase.max_tokens", "num_samples": "phase.samples", "num_generations": "phase.samples",
    "n": "phase.samples", "dpo_beta": "phase.beta",
    # the data
    "dataset": "task.train", "dataset_name": "task.train", "datasets": "task.train", "data_files": "task.train",
    "train_file": "task.train", "train_dataset": "task.train", "eval_dataset": "task.development",
    "validation_file": "task.development",
    # the run
    "seed": "run.seed", "random_seed": "run.seed", "save_total_limit": "run.keep", "num_threads": "run.threads",
    "report_to": "run.trackers",
    # a partner
    "api_base": "base_url", "openai_api_base": "base_url", "endpoint_url": "base_url",
    # names of methods, tasks and partners
    "tpo": "thought_preference", "thinking_llms": "thought_preference", "online_dpo": "response_preference",
    "iterative_dpo": "response_preference", "self_rewarding": "response_preference", "star": "lmsi",
    "rejection_sampling": "lmsi", "debate": "saie", "self_refine": "tripost", "self_correction": "tripost",
    "csv": "table", "json": "table", "jsonl": "table", "parquet": "table",
    "huggingface": "local", "transformers": "local", "reward_model": "reward", "oracle": "task", "verifier": "task",
}  # fmt: skip

_DATA = 'write kind = "table" and train = "…" (a file or hub:OWNER/NAME) under [task]'
_SAMPLES = "write samples under a [[phase]] whose method samples: thought_preference, response_preference or lmsi"
_LENGTH = "leave it out: rows longer than the model accepts are dropped; max_dropped under [trainer] bounds their share"
_JUDGE = 'fill the role of the judge: [phase.judge] with by = "my_rewards.py:score", "task", "reward" or "endpoint"'
_TRACKERS = 'write trackers = ["wandb"] under [run]'
_ONE_PROCESS = "leave it out: a run is one process"
_UPLOAD = "leave it out, and publish the learner afterwards: sparring export RUN FOLDER --push OWNER/NAME"
_SAMPLED = "choose response_preference, which also has several answers to a problem judged"
_KEY = "put the key into the environment variable OPENAI_API_KEY, or name another variable in key_variable"


def _served(base_url: str, variable: str = "") -> str:
    key = f', key_variable = "{variable}"' if variable else ""
    return f'write by = "endpoint" with model = "…", base_url = "{base_url}"{key}'


def _role(name: str) -> str:
    return f"write its table as [phase.{name}], below its [[phase]]"


ADVICE = {
    **dict.fromkeys(
        ("dataset", "dataset_name", "datasets", "data_files", "train_file", "train_dataset", "data"), _DATA
    ),
    **dict.fromkeys(("num_samples", "num_generations", "n"), _SAMPLES),
    **dict.fromkeys(("max_seq_length", "max_length", "cutoff_len", "sequence_len", "max_prompt_length"), _LENGTH),
    **dict.fromkeys(("reward_funcs", "reward_fn", "reward_function", "rewards", "reward_model"), _JUDGE),
    **dict.fromkeys(("report_to", "wandb", "tensorboard", "mlflow", "comet", "trackio"), _TRACKERS),
    **dict.fromkeys(("deepspeed", "fsdp", "num_processes"), _ONE_PROCESS),
    **dict.fromkeys(("push_to_hub", "hub_model_id"), _UPLOAD),
    **dict.fromkeys(("grpo", "ppo", "rloo", "reinforce"), _SAMPLED),
    **dict.fromkeys(("api_key", "openai_api_key"), _KEY),
    **dict.fromkeys(("api_base", "openai_api_base", "endpoint_url"), _served("http://localhost:8000/v1")),
    **dict.fromkeys(("openai", "gpt", "chatgpt"), _served("https://api.openai.com/v1")),
    **dict.fromkeys(("anthropic", "claude"), _served("https://api.anthropic.com/v1", "ANTHROPIC_API_KEY")),
    "gemini": _served("https://generativelanguage.googleapis.com/v1beta/openai", "GEMINI_API_KEY"),
    "openrouter": _served("https://openrouter.ai/api/v1", "OPENROUTER_API_KEY"),
    "ollama": _served("http://localhost:11434/v1"),
    "vllm": _served("http://localhost:8000/v1"),
    "sglang": _served("http://localhost:30000/v1"),
    "lmstudio": _served("http://localhost:1234/v1"),
    "llama_cpp": _served("http://localhost:8080/v1"),
    **{name: _role(name) for name in ("discussant", "critic", "editor", "author", "judge")},
    "output_dir": "name the folder of the run on the command line: --run FOLDER",
    "resume_from_checkpoint": "resume on the command line: --resume",
    "gradient_accumulation_steps": "leave it out: batch_size under [trainer] is that of a whole step",
    "max_steps": "write rounds, max_gradient_tokens or max_seconds under [[phase]]",
    "warmup_steps": "write warmup under [trainer]; it counts problems",
    "warmup_ratio": "write warmup under [trainer]; it counts problems",
    "eval_steps": "write evaluate_every under [run]; it counts problems",
    "save_steps": "write save_every under [run]; it counts problems",
    "assistant_only_loss": "leave it out: only the learner's turns are taught",
    "completion_only_loss": "leave it out: only the learner's turns are taught",
    "bf16": 'write dtype = "bfloat16" under [learner]',
    "fp16": 'write dtype = "float16" under [learner]',
    "logging_steps": "leave it out: metrics.jsonl in the run's folder has every step",
    "ref_model": "leave it out: the reference is the learner at the start of each round",
    "use_vllm": "leave it out: the learner samples in this process",
}


# What is named in a recipe or on the command line, unlike a column or range.
_KINDS = ("key", "table", "method", "task", "partner", "speaker", "recipe")


def alias(kind: str, name: str, known: Collection[str]) -> str | None:
    """Return the one of `known` that means the same as `name` does in another tool, if any."""
    place = PLACES.get(_normal(name), "").rpartition(".")[2]
    return place if place in known and kind.split(maxsplit=1)[0] in _KINDS else None


def advice(kind: str, name: str) -> str | None:
    """Return what to do instead of writing the unknown `name` in a recipe, as an imperative; None if there is none."""
    word = _normal(name)
    if kind.split(maxsplit=1)[0] not in _KINDS:
        return None
    if word in ADVICE:
        return ADVICE[word]
    table, _, key = PLACES.get(word, "").partition(".")
    if not key or (word == key and kind != "table of a recipe"):  # a key of ours may belong to several tables
        return None
    brackets = "[[phase]]" if table == "phase" else f"[{table}]"
    outer, _, inner = key.partition(".")
    return f"write {outer} = {{{inner} = …}} under {brackets}" if inner else f"write {key} under {brackets}"


# Verbs whose --set changes a recipe, and the tables of those with another --set. Their places differ from a recipe's.
_OF_RECIPES = ("train", "estimate", "exam")
_TABLES = {
    "evaluate": ("learner", "task", "protocol", "evaluation", "ledger", "budget"),
    "talk": ("learner", "ledger", "budget"),
    "write": ("task", "speaker", "ledger", "budget"),
}
_PLACES_OF_VERBS = {
    "evaluate": {
        "phase.max_tokens": "evaluation.max_tokens", "phase.samples": "protocol.samples",
        "trainer.batch_size": "evaluation.at_once", "run.seed": "evaluation.seed",
    },
    "talk": {"phase.max_tokens": "--max-tokens"},
    "write": {"learner.model": "speaker.model"},
}  # fmt: skip
_ADVICE_OF_VERBS = {  # words of ADVICE that are not on training
    "talk": ("api_key", "openai_api_key"),
    **dict.fromkeys(("evaluate", "write"), ("api_key", "openai_api_key", "output_dir", "resume_from_checkpoint")),
}


def option_advice(option: str, verb: str) -> str | None:
    """Return what to write instead of the unknown option `option` of `verb`; None if there is nothing."""
    word = _normal(option.lstrip("-"))
    place = PLACES.get(word, "")
    if verb in _OF_RECIPES:
        return f"write --set {place.replace('phase.', 'phase.1.')}=…" if "." in place else ADVICE.get(word)
    place = _PLACES_OF_VERBS.get(verb, {}).get(place, place)
    if place.startswith("--"):
        return f"write {place}"
    if "." in place and place.partition(".")[0] in _TABLES.get(verb, ()):
        return f"write --set {place}=…"
    return ADVICE[word] if word in _ADVICE_OF_VERBS.get(verb, ()) else None


def _normal(name: str) -> str:
    return name.lower().replace("-", "_")
