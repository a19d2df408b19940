"""`markbook demo`: starts service and trainer as two processes, stops both, shows the results."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Annotated

import typer
import yaml

from markbook.cli.options import new_app
from markbook.client import ScoringClient
from markbook.config.loading import load_config, without_secrets
from markbook.config.settings import Config
from markbook.demo.processes import DemoError, Interrupts, free_port, service
from markbook.demo.summary import summary_text
from markbook.redaction import hide_secrets
from markbook.terminal import printable

HERE = Path(__file__).parent
DEFAULT_CONFIG = next(
    each for each in (HERE / "demo.yaml", HERE.parents[1] / "demo.yaml") if each.exists()
)
"""In the package where it was installed, else in the source tree."""


app = new_app(
    "Trains a small student against a scoring service on this machine, both started and stopped "
    "here, and shows the results before and after.",
    "markbook demo",
    "markbook demo --seed 1 --out runs",
    "markbook demo --max-steps 2    # a look at everything, without a result",
    notes="Exit status: 0 finished, 2 it could not start; else that of `markbook train`.",
)


@app.command()
def demo(
    seed: Annotated[
        int | None, typer.Option(metavar="N", help="Seed of the run (default: training.seed).")
    ] = None,
    out: Annotated[
        str | None,
        typer.Option(
            metavar="DIR", help="Where the run's folder is made (default: training.output_dir)."
        ),
    ] = None,
    max_steps: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="Steps of training (default: training.max_steps)."),
    ] = None,
    config: Annotated[
        Path,
        typer.Option(
            metavar="FILE", show_default=False, help="Configuration (default: demo/demo.yaml)."
        ),
    ] = DEFAULT_CONFIG,
) -> None:
    with Interrupts() as interrupts:
        base = with_max_steps(load_config(config), max_steps)
        status = run_demo(base, seed, out, interrupts)
    if status:
        raise typer.Exit(status)


def run_demo(base: Config, seed: int | None, out: str | None, interrupts: Interrupts) -> int:
    """The exit code of the trainer, or 128 + the signal that came before it began."""
    port = free_port()
    config = for_one_run(base, seed, out, port, time.strftime("%Y%m%d-%H%M%S"))
    assert config.rlaif.run
    run_dir = Path(config.training.output_dir) / config.rlaif.run
    try:
        run_dir.mkdir(parents=True)
    except OSError as error:
        raise DemoError(f"cannot make the run folder {run_dir}: {error.strerror}") from error
    file = run_dir / "config.yaml"
    file.write_text(yaml.safe_dump(without_secrets(config), sort_keys=False), encoding="utf-8")
    _say(introduction(config, run_dir))

    with service(
        file,
        config.store.database_url,
        port,
        run_dir / "service.log",
        lambda: interrupts.received is not None,
    ) as address:
        if interrupts.received:
            return 128 + interrupts.received
        with ScoringClient(address) as client:
            teacher = client.stats().teacher
        _say(f"scoring service ready at {address} (in a browser: a page to watch)")
        code = interrupts.run([sys.executable, "-m", "markbook.trainer", "--config", str(file)])
    if code:
        what = (
            "stopped on request"
            if interrupts.received
            else f"failed: the trainer ended with exit code {code}"
        )
        _say(f"\n{what}; the files are in {run_dir}/, the service's log in {run_dir}/service.log")
        if (run_dir / "checkpoints").exists():
            _say(f"to continue it, start its service again: markbook serve --config {file}")
    _say(f"\n{summary_text(run_dir, teacher)}")
    return code


def with_max_steps(base: Config, max_steps: int | None) -> Config:
    """`base`, with `max_steps` steps where that is given."""
    if max_steps is None:
        return base
    training = base.training.model_copy(update={"max_steps": max_steps})
    return base.model_copy(update={"training": training})


def for_one_run(base: Config, seed: int | None, out: str | None, port: int, moment: str) -> Config:
    """`base` with a run of its own: its seed, its folder, its name at the service, the service's
    address.
    """
    training = base.training.model_copy(
        update={
            "seed": base.training.seed if seed is None else seed,
            "output_dir": out or base.training.output_dir,
        }
    )
    rlaif = base.rlaif.model_copy(
        update={
            "scoring_url": f"http://127.0.0.1:{port}",
            "run": base.rlaif.run or f"demo-{moment}-{os.getpid()}-seed{training.seed}",
        }
    )
    listening = base.service.model_copy(update={"host": "127.0.0.1", "port": port})
    return base.model_copy(update={"training": training, "rlaif": rlaif, "service": listening})


def introduction(config: Config, run_dir: Path) -> str:
    training, rlaif = config.training, config.rlaif
    lines = [
        "Markbook demo: a scoring service and a trainer, two processes that talk over HTTP.",
        f"  student   {training.model}, trained by LoRA with seed {training.seed}: "
        f"{training.max_steps} steps of {training.prompts_per_step} tasks x "
        f"{rlaif.num_samples_per_prompt} samples",
        f"  teacher   {_teacher(config)}",
        f"  store     {hide_secrets(config.store.database_url)}: marks are kept, and not asked for "
        "again",
        f"  folder    {run_dir}/",
        "  time      several minutes on 2 cores as demo.yaml stands; Ctrl-C stops it all and keeps "
        "what there is",
    ]
    return "\n".join(lines)


def _teacher(config: Config) -> str:
    if config.teacher.name == "static":
        return (
            "static: an offline stub and no judge, for what passes its tests; it looks at "
            "syntax only"
        )
    return f"{config.teacher.name}, {config.teacher.model}: every new mark costs money"


def _say(text: str) -> None:
    print(printable(text), flush=True)
