"""A batch on its way: written group by group, each sent as soon as it is there, its marks waited
for later.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

from markbook.config.settings import Config
from markbook.contract import Result
from markbook.trainer.distributed import ProcessGroup
from markbook.trainer.monitoring.metrics import Recorder, log
from markbook.trainer.rewards.client import RewardClient
from markbook.trainer.rewards.unscored import marked_enough
from markbook.trainer.rollout.hf import Sampler
from markbook.trainer.rollout.vllm import VllmSampler
from markbook.trainer.types import Group, Sample, Task
from markbook.trainer.utils.timer import Timer

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Draw:
    """Which batch: of which run and phase to the service, from which stream and step to the
    seeds.
    """

    run: str
    phase: str
    stream: int
    step: int


@dataclass(frozen=True, slots=True)
class RolloutBatch:
    """This process's share of a batch: groups by their place in it, with their marks to come."""

    draw: Draw
    groups: Mapping[int, tuple[Sequence[Sample], Future[list[Result]]]]


class RolloutQueue:
    """Writes batches and brings their marks.

    `request_id`: of its arguments, the same whenever a step is done again, so that the service
    counts it once.
    """

    def __init__(
        self,
        sampler: Sampler | VllmSampler,
        marker: RewardClient,
        config: Config,
        ranks: ProcessGroup,
        recorder: Recorder,
        watch: Timer,
        request_id: Callable[..., str],
    ) -> None:
        self._sampler, self._marker, self._config, self._ranks = sampler, marker, config, ranks
        self._recorder, self._watch, self._request_id = recorder, watch, request_id

    def start(self, draw: Draw, tasks: Sequence[Task], num_generations: int) -> RolloutBatch:
        """Sample `num_generations` completions for each of `tasks`; scoring starts while later
        ones are generated.
        """
        shard = self._share(range(len(tasks)))

        def write() -> dict[int, tuple[Sequence[Sample], Future[list[Result]]]]:
            if not shard:
                return {}
            written = self._sampler.groups(tasks, num_generations, (draw.stream, draw.step), shard)
            shown = self._recorder.track(written, "generating", len(shard))
            return {place: (samples, self._ask(draw, place, samples)) for place, samples in shown}

        with self._watch("generating"):
            return RolloutBatch(draw, self._ranks.all_or_raise(write))

    def marks(self, rollout: RolloutBatch) -> list[Group]:
        """The groups of the whole batch in the order of its tasks, enough of them marked.

        Raises as `marked_enough`.
        """

        def ask(place: int, samples: Sequence[Sample], attempt: int) -> Future[list[Result]]:
            return self._ask(rollout.draw, place, samples, attempt)

        self._recorder.set_status("waiting for marks")
        with self._watch("scoring"):
            groups = self._together(
                lambda: {
                    place: (samples, marks.result())
                    for place, (samples, marks) in rollout.groups.items()
                }
            )
            return self._ranks.on_main(lambda: marked_enough(groups, ask, self._config.rlaif, log))

    def keep(self, rollout: RolloutBatch) -> dict[str, Any]:
        """The samples of the whole batch, for a checkpoint: the policy that wrote them is in
        none.
        """
        groups = self._together(
            lambda: {place: samples for place, (samples, _) in rollout.groups.items()}
        )
        return {
            "draw": asdict(rollout.draw),
            "groups": [list(map(asdict, group)) for group in groups],
        }

    def restart(self, kept: Mapping[str, Any]) -> RolloutBatch:
        """Request the marks of what `keep` returned again; those that arrived meanwhile are
        stored.
        """
        draw = Draw(**kept["draw"])
        groups: list[list[Sample]] = []
        for group in kept["groups"]:
            groups.append([Sample(**{**one, "task": Task(**one["task"])}) for one in group])
        shard = self._ranks.shard(range(len(groups)))
        return RolloutBatch(
            draw, {place: (groups[place], self._ask(draw, place, groups[place])) for place in shard}
        )

    def _share(self, places: Sequence[int]) -> Sequence[int]:
        """The groups that this process generates: with a server, one process requests all of
        them.
        """
        if self._config.training.generates_elsewhere:
            return places if self._ranks.rank == 0 else ()
        return self._ranks.shard(places)

    def _together(self, shard: Callable[[], Mapping[int, T]]) -> list[T]:
        """What all processes have of their shares, in the order of the batch."""
        whole = {place: item for part in self._ranks.gather(shard) for place, item in part.items()}
        return [whole[place] for place in sorted(whole)]

    def _ask(
        self, draw: Draw, place: int, samples: Sequence[Sample], attempt: int = 0
    ) -> Future[list[Result]]:
        request_id = self._request_id(draw.phase, draw.stream, draw.step, place, attempt)
        return self._marker.submit(draw.run, samples, request_id)
