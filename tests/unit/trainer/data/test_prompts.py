"""Task files, chat templates, the order of the epochs."""

from __future__ import annotations

import json
from itertools import islice

import pytest

from markbook.config.loading import ConfigError
from markbook.config.settings import Training
from markbook.trainer.data.chat import render
from markbook.trainer.data.tasks import batches, load_tasks
from markbook.trainer.types import Task
from tests.tiny import tiny_tokenizer


def load(tmp_path, *lines, limit=100):
    file = tmp_path / "tasks.jsonl"
    file.write_text("\n".join(lines), encoding="utf-8")
    return load_tasks(
        file, tiny_tokenizer(), Training(system_prompt="be brief", max_prompt_tokens=limit)
    )


def line(**keys):
    return json.dumps({"prompt": "add two numbers", "language": "python"} | keys)


def test_tasks_keep_prompt_language_and_tests_and_show_the_student_the_prompt_alone(tmp_path):
    first = line(id=7, tests=["assert f()"], test_setup="import re", solution="hidden")
    tasks = load(tmp_path, first, "", line(prompt="läuft 🐍", language="c++"))
    assert [(t.tests, t.test_setup) for t in tasks] == [(("assert f()",), "import re"), ((), "")]
    assert [(t.index, t.prompt, t.language) for t in tasks] == [
        (0, "add two numbers", "python"),
        (1, "läuft 🐍", "c++"),
    ]
    text = tiny_tokenizer().decode(tasks[0].token_ids)
    assert text == "<s>system\nbe brief</s>\n<s>user\nadd two numbers</s>\n<s>assistant\n"


@pytest.mark.parametrize(
    ("bad", "complaint"),
    [
        ("{", "2: the line: Invalid JSON"),
        ('{"prompt": "x"}', "2: language: Field required"),
        (line(prompt=3), "2: prompt: Input should be a valid string"),
        (line(prompt=""), "2: prompt: String should have at least 1 character"),
        (line(prompt="\ud800"), "2: the line: Invalid JSON"),
        ("[1]", "2: the line: Input should be an object"),
    ],
)
def test_a_bad_line_is_named(tmp_path, bad, complaint):
    with pytest.raises(ConfigError, match=f"tasks.jsonl:{complaint}"):
        load(tmp_path, line(), bad)


def test_a_line_ends_at_a_newline_and_nowhere_else(tmp_path):
    prompt = "one\u2028two\u0085three"
    [task] = load(
        tmp_path, json.dumps({"prompt": prompt, "language": "python"}, ensure_ascii=False)
    )
    assert task.prompt == prompt


def test_a_task_over_the_limit_stops_with_its_line_and_is_never_cut(tmp_path):
    tokens = len(load(tmp_path, line())[0].token_ids)
    assert load(tmp_path, line(), limit=tokens)
    with pytest.raises(
        ConfigError, match=rf"tasks.jsonl:1: the task has {tokens} tokens .* \({tokens - 1}\)"
    ):
        load(tmp_path, line(), limit=tokens - 1)


def test_a_file_that_is_missing_empty_or_not_text(tmp_path):
    with pytest.raises(ConfigError, match=r"cannot read the tasks .*nowhere: No such file"):
        load_tasks(tmp_path / "nowhere", tiny_tokenizer(), Training(system_prompt=""))
    with pytest.raises(ConfigError, match="holds no tasks"):
        load(tmp_path, "", "  ")
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="not UTF-8"):
        load_tasks(tmp_path / "binary", tiny_tokenizer(), Training(system_prompt=""))


def test_no_system_prompt_and_no_template():
    tokenizer = tiny_tokenizer()
    assert tokenizer.decode(render(tokenizer, "x", "")) == "<s>user\nx</s>\n<s>assistant\n"
    tokenizer.chat_template = None
    assert tokenizer.decode(render(tokenizer, "x", "sys")) == "sys\n\nx\n"
    assert tokenizer.decode(render(tokenizer, "x", "")) == "x\n"


NO_SYSTEM_ROLE = (
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system role') "
    "}}{% endif %}{% for m in messages %}[{{ m['content'] }}]{% endfor %}"
)


def test_without_a_system_role_the_system_prompt_is_in_front_of_the_task_and_bos_is_there_once():
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = NO_SYSTEM_ROLE
    assert tokenizer.decode(render(tokenizer, "x", "sys")) == "<s>[sys\n\nx]"
    assert tokenizer.decode(render(tokenizer, "x", "")) == "<s>[x]"


def test_a_template_that_leaves_the_system_message_out_shows_it_in_front_of_the_task():
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = (
        "{% for m in messages %}{% if m['role'] == 'user' %}[{{ m['content'] "
        "}}]{% endif %}{% endfor %}"
    )
    assert tokenizer.decode(render(tokenizer, "x", "sys")) == "[sys\n\nx]"


def test_a_template_that_refuses_the_task_either_way_is_an_error():
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = "{{ raise_exception('no') }}"
    with pytest.raises(
        ConfigError, match=r"with a system message and with training.system_prompt in front .*: no"
    ):
        render(tokenizer, "x", "sys")
    with pytest.raises(ConfigError, match="refuses the task: no"):
        render(tokenizer, "x", "")


def test_thinking_is_off_unless_the_configuration_turns_it_on(tmp_path):
    tokenizer = tiny_tokenizer()
    switch = "enable_thinking is defined and not enable_thinking"
    tokenizer.chat_template = (
        f"{{{{ messages[-1]['content'] }}}}>{{% if {switch} %}}<think></think>{{% endif %}}"
    )
    file = tmp_path / "tasks.jsonl"
    file.write_text(line())
    [off] = load_tasks(file, tokenizer, Training(system_prompt=""))
    [on] = load_tasks(
        file, tokenizer, Training(system_prompt="", chat_template_kwargs={"enable_thinking": True})
    )
    assert tokenizer.decode(off.token_ids) == "add two numbers><think></think>"
    assert tokenizer.decode(on.token_ids) == "add two numbers>"


def test_a_variable_that_the_trainer_sets_itself_is_refused():
    with pytest.raises(ValueError, match="tokenize is set by the trainer"):
        Training(chat_template_kwargs={"tokenize": True})


def test_every_epoch_holds_each_task_once_in_a_seeded_order():
    tasks = [Task(i, str(i), "python", (i,)) for i in range(5)]
    order = [task.index for batch in islice(batches(tasks, 2, seed=0), 5) for task in batch]
    assert sorted(order[:5]) == sorted(order[5:]) == [0, 1, 2, 3, 4]
    assert order[:5] != order[5:]
    assert order == [task.index for batch in islice(batches(tasks, 2, seed=0), 5) for task in batch]
    assert order != [task.index for batch in islice(batches(tasks, 2, seed=1), 5) for task in batch]
