"""A stock GRPOTrainer script, with one line of Markbook: `reward_funcs=markbook_reward(...)`.

pip install '.[service,trainer,trl]'
markbook serve &
python docs/examples/trl_grpo.py --model HuggingFaceTB/SmolLM2-135M-Instruct
"""

from __future__ import annotations

import argparse

from datasets import load_dataset
from peft import LoraConfig
from transformers import AutoTokenizer
from trl import GRPOConfig, GRPOTrainer

from markbook.adapters.trl import markbook_reward


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="HuggingFaceTB/SmolLM2-135M-Instruct")
    parser.add_argument(
        "--tasks", default="demo/tasks/train.jsonl", help="JSONL of {prompt, language}"
    )
    parser.add_argument("--url", default="http://127.0.0.1:8000", help="the scoring service")
    parser.add_argument(
        "--run", default="trl-example", help="the name under which the service counts"
    )
    parser.add_argument("--output", default="runs/trl-example")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--tokens", type=int, default=128, help="of a completion, at most")
    parser.add_argument(
        "--cpu", action="store_true", help="in float32; without it: on the GPU, in bfloat16"
    )
    options = parser.parse_args()

    # columns: prompt (messages) and language, which the reward function reads
    dataset = load_dataset("json", data_files=options.tasks, split="train").map(
        lambda row: {"prompt": [{"role": "user", "content": row["prompt"]}]}
    )
    trainer = GRPOTrainer(
        model=options.model,
        reward_funcs=markbook_reward(run=options.run, url=options.url),
        args=GRPOConfig(
            output_dir=options.output,
            max_steps=options.steps,
            learning_rate=1e-4,
            beta=0.02,
            temperature=0.85,
            num_generations=4,
            per_device_train_batch_size=8,
            max_completion_length=options.tokens,
            bf16=not options.cpu,
            use_cpu=options.cpu,
            gradient_checkpointing=False,
            model_init_kwargs={"dtype": "float32"} if options.cpu else None,
            logging_steps=1,
            log_completions=True,
            report_to="none",
        ),
        train_dataset=dataset,
        processing_class=AutoTokenizer.from_pretrained(options.model, padding_side="left"),
        peft_config=LoraConfig(
            r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM"
        ),
    )
    trainer.train()
    trainer.save_model()


if __name__ == "__main__":
    main()
