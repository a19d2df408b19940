"""`markbook merge RUN OUT`: the trained student as one model, its adapter merged in."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from markbook.cli.options import INTERRUPTED, ConfigOption, new_app
from markbook.config.loading import load_config
from markbook.terminal import printable
from markbook.trainer.run_dir import find_run
from markbook.trainer.utils import signals
from markbook.trainer.utils.cpu_threads import limit_spinning

DIFFERS = 3

_NOTES = """\
OUT gets the weights (safetensors), the tokenizer and its chat template: what
`vllm serve OUT` or AutoModelForCausalLM.from_pretrained("OUT") needs. It
appears only when it is complete.

Exit status:
  0    merged, and its logits are those of the base with the adapter
  2    the run, the checkpoint or its model is missing, or OUT is not empty
  3    the merged logits differ from those of the base with the adapter;
       nothing is left in OUT
  130  interrupted"""

app = new_app(
    "Merges a run's adapter into its base model and saves the result for serving.",
    "markbook merge demo-seed0 build/student",
    "markbook merge runs/demo-seed0 build/student --checkpoint step-12",
    notes=_NOTES,
)


class Dtype(StrEnum):
    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"
    FLOAT16 = "float16"


@app.command()
def merge(
    run: Annotated[str, typer.Argument(help="A run's name in training.output_dir, or its folder.")],
    out: Annotated[Path, typer.Argument(help="Folder to write, new or empty.")],
    checkpoint: Annotated[
        str | None,
        typer.Option(
            metavar="step-N", help="A checkpoint's adapter (default: the one the run ended with)."
        ),
    ] = None,
    dtype: Annotated[
        Dtype | None,
        typer.Option(
            help="Number format (default: the run's; this machine's where the run left it to the "
            "machine)."
        ),
    ] = None,
    config: ConfigOption = None,
) -> None:
    signals.install()
    limit_spinning()
    from markbook.trainer.export.merge import AdapterMismatchError, export

    try:
        run_dir = find_run(load_config(config), run)
        print(printable(f"wrote {export(run_dir, out, checkpoint, dtype and dtype.value)}"))
    except AdapterMismatchError as error:
        print(printable(str(error)), file=sys.stderr)
        raise typer.Exit(DIFFERS) from error
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        raise typer.Exit(INTERRUPTED) from None
