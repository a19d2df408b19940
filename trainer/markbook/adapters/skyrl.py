"""Marks for SkyRL: a single-turn environment whose reward is the mark of the completion.

    skyrl_gym.register("markbook", "markbook.adapters.skyrl:MarkbookEnv", kwargs={"run": "mine",
    "language": "python"})

then `environment.env_class=markbook`. SkyRL has no value for a step without a reward: a missing
mark is an exception and ends the run. This module alone imports its trainer (skyrl_gym, which loads
no torch): SkyRL accepts nothing but subclasses of its Env. Source: `skyrl_gym/envs/registration.py`
of skyrl-gym 0.4 and `skyrl/train/generators/skyrl_gym_generator.py` of SkyRL 0.3,
https://github.com/NovaSky-AI/SkyRL.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from skyrl_gym.envs.base_text_env import BaseTextEnv, BaseTextEnvStepOutput

from markbook.adapters._common import WAIT_S, build_sample, require_scores, text_of
from markbook.client import RetryPolicy, ScoringClient
from markbook.contract import DEFAULT_RUN


class MarkbookEnv(BaseTextEnv):  # type: ignore[misc]  # skyrl_gym has no types
    """One task, one completion, one mark.

    `extras` is the dataset's row: it may hold `language`, `tests` (a list of Python statements,
    each one test) and `test_setup`. `run` to `wait_s` are the `kwargs` of the registration: `run`
    is the name under which the service counts, `language` that of rows without their own. `url`,
    `api_key`: else $MARKBOOK_URL (without it http://127.0.0.1:8000) and $MARKBOOK_API_KEY. The
    service is waited for up to `wait_s` seconds.
    """

    def __init__(
        self,
        env_config: Any = None,
        extras: Mapping[str, Any] | None = None,
        *,
        run: str = DEFAULT_RUN,
        language: str | None = None,
        url: str | None = None,
        api_key: str | None = None,
        wait_s: float = WAIT_S,
    ) -> None:
        """Raises ValueError where neither the row nor the registration names a language."""
        super().__init__()
        row = extras or {}
        spoken = row.get("language") or language
        if not spoken:
            raise ValueError(
                "which language? `language` in the dataset's rows or in the registration's kwargs"
            )
        self._language: str = spoken
        self._tests, self._test_setup = row.get("tests"), row.get("test_setup")
        self._run, self._url, self._api_key, self._wait_s = run, url, api_key, wait_s
        self._task = ""

    def init(
        self, prompt: Sequence[Mapping[str, Any]]
    ) -> tuple[Sequence[Mapping[str, Any]], dict[str, Any]]:
        """`prompt` unchanged: a list of messages, of which the user's text is the task."""
        self._task = text_of(prompt, "user")
        return prompt, {}

    def step(self, action: str) -> BaseTextEnvStepOutput:
        """The mark of `action`, in [0, 1], as the reward; the episode is done.

        Blocks the calling thread.

        Raises NoMarksError where there is no mark, ClientError where the service does not answer or
        refuses.
        """
        sample = build_sample(self._task, action, self._language, self._tests, self._test_setup)
        retry_policy = RetryPolicy(self._wait_s)
        with ScoringClient(
            self._url, api_key=self._api_key or None, retry_policy=retry_policy
        ) as client:
            results = client.score_many([sample], run=self._run, rescore_s=self._wait_s)
        reward = require_scores(results)[0]
        return BaseTextEnvStepOutput(
            observations=[], reward=reward, done=True, metadata={"key": results[0].key}
        )
