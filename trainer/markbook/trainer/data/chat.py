"""A task as the student's token ids: through the model's chat template, as plain text where it
has none.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jinja2

from markbook.config.loading import ConfigError


def render(
    tokenizer: Any,
    prompt: str,
    system_prompt: str,
    template_kwargs: Mapping[str, Any] | None = None,
) -> tuple[int, ...]:
    """Token ids of the prompt, up to where the answer begins. A template adds its own special
    tokens, BOS among them; without one the tokenizer does.

    Where the template has no system role (Gemma) or leaves the message out, the system prompt goes
    in front of the task. `template_kwargs` are the template's variables, such as `enable_thinking`.
    Raises ConfigError.
    """
    if tokenizer.chat_template is None:
        text = f"{system_prompt}\n\n{prompt}\n" if system_prompt else f"{prompt}\n"
        return tuple(tokenizer(text)["input_ids"])
    kwargs = dict(template_kwargs or {})
    try:
        text = _apply(tokenizer, _messages(prompt, system_prompt), kwargs)
        is_shown = system_prompt.strip() in text
    except jinja2.TemplateError as error:
        if not system_prompt:
            raise ConfigError(f"the model's chat template refuses the task: {error}") from error
        is_shown = False
    if not is_shown:
        text = _with_system_prompt_in_task(tokenizer, prompt, system_prompt, kwargs)
    return tuple(tokenizer(text, add_special_tokens=False)["input_ids"])


def _with_system_prompt_in_task(
    tokenizer: Any, prompt: str, system_prompt: str, kwargs: dict[str, Any]
) -> str:
    try:
        return _apply(tokenizer, _messages(f"{system_prompt}\n\n{prompt}", ""), kwargs)
    except jinja2.TemplateError as error:
        raise ConfigError(
            "the model's chat template refuses the task, with a system message and with "
            f"training.system_prompt in front of the task: {error}"
        ) from error


def _messages(prompt: str, system_prompt: str) -> list[dict[str, str]]:
    system = [{"role": "system", "content": system_prompt}] if system_prompt else []
    return [*system, {"role": "user", "content": prompt}]


def _apply(tokenizer: Any, messages: list[dict[str, str]], kwargs: dict[str, Any]) -> str:
    text: str = tokenizer.apply_chat_template(
        messages, add_generation_prompt=True, tokenize=False, **kwargs
    )
    return text
