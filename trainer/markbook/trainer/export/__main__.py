"""`python -m markbook.trainer.export RUN OUT`: the trained student as one model, its adapter merged in."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from markbook.config.loading import ConfigError, load_config
from markbook.terminal import printable
from markbook.trainer.run_dir import find_run
from markbook.trainer.utils import signals
from markbook.trainer.utils.cpu_threads import limit_spinning

EXPORTED, CANNOT, DIFFERS, INTERRUPTED = 0, 2, 3, 130

_EPILOG = """\
OUT gets the weights (safetensors), the tokenizer and its chat template, all that `vllm serve OUT` or
AutoModelForCausalLM.from_pretrained("OUT") wants. It is there whole or not at all.

exit codes:
  0    exported, and its logits are those of the base with the adapter on it
  2    there is no such run or checkpoint, its model cannot be had, or OUT is not empty
  3    what was written says something else than the base with the adapter on it; nothing is left in OUT
  130  interrupted
"""


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m markbook.trainer.export",
        description="Merge a run's adapter into its base model and save the result for serving.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("run", metavar="RUN", help="a run's name in training.output_dir, or its folder")
    parser.add_argument("out", metavar="OUT", type=Path, help="folder to write, new or empty")
    parser.add_argument(
        "--checkpoint", metavar="step-N", help="the adapter of a checkpoint (default: the one the run ended with)"
    )
    parser.add_argument(
        "--dtype",
        choices=("float32", "bfloat16", "float16"),
        help="number format (default: the run's; this machine's where it left device and dtype to the machine)",
    )
    parser.add_argument("--config", metavar="FILE", help="says where runs are (default: as for the trainer)")
    options = parser.parse_args(arguments)
    signals.install()
    limit_spinning()
    from markbook.trainer.export.merge import AdapterMismatchError, export

    try:
        run_dir = find_run(load_config(options.config), options.run)
        print(printable(f"wrote {export(run_dir, options.out, options.checkpoint, options.dtype)}"))
    except ConfigError as error:
        print(printable(str(error)), file=sys.stderr)
        return CANNOT
    except AdapterMismatchError as error:
        print(printable(str(error)), file=sys.stderr)
        return DIFFERS
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    return EXPORTED


if __name__ == "__main__":
    sys.exit(main())
