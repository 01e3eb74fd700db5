"""Scores of the members of a stack on the evaluation prompts, as checkpoints in the stack's notes.

Members of one task are evaluated together. What stands in a checkpoint is what a result contains of it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from bench.results.evaluations import converged
from bench.stack import Stack
from bench.tasks.task import MAIN, SELECTION
from bench.train import Interrupted
from bench.train.evaluate import Keep, ModelScores, PartScores, longer_scores, member_scores
from bench.train.evaluation_prompts import EvaluationSet, LongerPrompts, evaluation_sets
from bench.train.notes import StackNotes
from bench.train.predictions import StackPredictor
from bench.train.state import State
from bench.train.summaries import headline, packed, rounded, summary


@dataclass
class StackScoring:
    """The evaluation of a stack in training.

    Attributes:
        stack: its runs.
        state: the parameters of the members that are computed.
        notes: where scores are recorded.
        device: of the evaluation.
        before_part: called before a part of the prompts is scored, when the notes contain the scores of all
            parts before it. It may raise `Interrupted`.
    """

    stack: Stack
    state: State
    notes: StackNotes
    device: torch.device
    before_part: Callable[[], None] | None = None

    def __post_init__(self) -> None:
        self.sets = {
            run.task_id: evaluation_sets(run.task, run.evaluation_prompts) for run in self.stack.members
        }

    def prompts(self, k: int) -> dict[str, dict[str, Any]]:
        """Numbers and digests of the prompts on which member `k` was scored, by evaluation."""
        sets = self.sets[self.stack.members[k].task_id]
        prompts = {
            name: {"count": prompt_set.count, "sha256": prompt_set.sha256}
            for name, prompt_set in sets.items()
        }
        return prompts | self.notes.members[k].longer_prompts

    def evaluate(self, step: int, numbers: Iterable[int]) -> None:
        """Score the members with these numbers on all sets of their tasks."""
        for task_id, members in self._by_task(numbers).items():
            measured: dict[int, dict[str, dict[str, ModelScores]]] = {k: {} for k in members}
            for purpose, prompts in self.sets[task_id].items():
                for k, scores in zip(members, self._scores(members, prompts), strict=True):
                    measured[k][purpose] = scores
            for k in members:
                self._keep_scores(k, step, measured[k])
            ends = self.notes.ends(self.stack)
            if at_end := [k for k in members if step == ends[k] and self.notes.members[k].diverged is None]:
                self._evaluate_longer(at_end)

    def check_convergence(self, step: int) -> None:
        """With a stop rule: record the members that have converged, on the validation prompts."""
        rule, steps = self.stack.first.stop, self.stack.first.steps
        if rule is None or (step % rule.every and step != steps):
            return
        unconverged = [
            k for k in self.notes.active(self.stack, step) if self.notes.members[k].converged is None
        ]
        for task_id, members in self._by_task(unconverged).items():
            threshold = self.stack.members[members[0]].task.convergence_accuracy
            for k, accuracy in zip(members, self._validation_accuracies(step, task_id, members), strict=True):
                if converged(accuracy, threshold):
                    self.notes.members[k].converged = step

    def _keep(self, members: Sequence[int], name: str, count: int, together: int, length: int) -> Keep:
        """Score each part of some prompts once, also if the evaluation is interrupted and continued.

        Args:
            members: numbers of the members that are scored.
            name: of the prompts.
            count: number of prompts.
            together: prompts of a part.
            length: tokens of a prompt.
        """
        flops, began = self.stack.first.forward_flops(length), time.monotonic()

        def keep(part: int, measure: Callable[[], PartScores]) -> PartScores:
            nonlocal began
            key = f"{name} {part} of {' '.join(map(str, members))}"
            if key not in self.notes.parts:
                if self.before_part is not None:
                    self.before_part()
                self.notes.parts[key] = measure()
                seconds = time.monotonic() - began  # with the time in which longer prompts are drawn
                for k in members:
                    self.notes.evaluation_seconds[k] += seconds / len(members)
                    self.notes.evaluation_flops[k] += flops * min(together, count - part * together)
            began = time.monotonic()
            return self.notes.parts[key]

        return keep

    def _by_task(self, members: Iterable[int]) -> dict[str, list[int]]:
        """Members by the id of their task: those of one task are evaluated together."""
        by_task: dict[str, list[int]] = {}
        for k in members:
            by_task.setdefault(self.stack.members[k].task_id, []).append(k)
        return by_task

    def _validation_accuracies(self, step: int, task_id: str, members: list[int]) -> list[float]:
        """Mean accuracies of members of one task on its validation prompts.

        They are in the members' last checkpoints if those are of this step; else they are measured.
        """
        checkpoints = [self.notes.members[k].checkpoints for k in members]
        if all(own and own[-1]["step"] == step for own in checkpoints):
            return [own[-1]["evaluations"][SELECTION]["overall"][0] for own in checkpoints]
        task = self.stack.members[members[0]].task
        return [
            summary(scores[MAIN], headline(task, MAIN, scores[MAIN]), positions=False)["overall"][0]
            for scores in self._scores(members, self.sets[task_id][SELECTION])
        ]

    def _scores(self, members: Sequence[int], prompts: EvaluationSet) -> list[dict[str, ModelScores]]:
        """Scores of members of one task on one set of its prompts, by name of the evaluation."""
        predictor, places = StackPredictor(self.state), self.notes.places(members)
        task = self.stack.members[members[0]].task
        parts = prompts.count, task.evaluated_together, task.full_length
        keep = self._keep(members, prompts.purpose, *parts)
        return member_scores(predictor, places, self.state.model, task, prompts, self.device, keep)

    def _evaluate_longer(self, members: Sequence[int]) -> None:
        """Score members that end now, of one task, on longer prompts than those of training.

        Nothing that happens there makes the training fail: the result states why an evaluation is left out.
        """
        run = self.stack.members[members[0]]
        for name, longer in run.task.longer_evaluations().items():
            if fault := run.architecture.length_fault:
                self._leave_out(members, name, fault)
                continue
            prompts = LongerPrompts(run.task, name, longer, run.evaluation_prompts)
            predictor, places = StackPredictor(self.state), self.notes.places(members)
            parts = prompts.count, prompts.together, longer.task.full_length
            keep = self._keep(members, f"longer {name}", *parts)
            try:
                values = longer_scores(predictor, places, self.state.model, prompts, self.device, keep)
            except (Interrupted, OSError):  # between two parts: a checkpoint may not have found room
                raise
            except Exception as error:  # a user's block may raise anything where prompts are too long
                self._leave_out(members, name, f"{type(error).__name__}: {error}")
                continue
            for k, scores in zip(members, values, strict=True):
                notes = self.notes.members[k]
                if not scores.finite:
                    self._leave_out([k], name, "a score is not finite")
                    continue
                notes.checkpoints[-1]["evaluations"][name] = summary(scores, scores.overall, positions=True)
                notes.longer_prompts[name] = {"count": prompts.count, "sha256": prompts.sha256}

    def _leave_out(self, members: Iterable[int], name: str, reason: str) -> None:
        for k in members:
            self.notes.members[k].not_evaluated[name] = reason

    def _keep_scores(self, k: int, step: int, measured: dict[str, dict[str, ModelScores]]) -> None:
        """Record a member's scores by purpose and evaluation. A non-finite score marks it as diverged."""
        run, notes = self.stack.members[k], self.notes.members[k]
        task = run.task
        if not all(scores.finite for by_name in measured.values() for scores in by_name.values()):
            notes.diverge(f"a score on the evaluation prompts is not finite at step {step}")
            return
        checkpoint: dict[str, Any] = {
            "step": step,
            "training_flops": run.training_flops(step),
            "training_flops_full_length": run.training_flops_full_length(step),
            "evaluations": self._summaries(k, measured),
        }
        tested = checkpoint
        selects = run.tested_checkpoint == "best_validation"
        if task.validation is not None and (selects or run.optimizer.plateau_factor is not None):
            purpose, name = task.validation
            checkpoint["validation_loss"] = rounded(measured[purpose][name].overall.mean())
        if selects:
            # Of equal losses, the first counts.
            tested = min([*notes.checkpoints, checkpoint], key=lambda entry: entry["validation_loss"])
            checkpoint |= {"evaluations": tested["evaluations"], "tested_step": tested["step"]}
        notes.checkpoints.append(checkpoint)
        # Scores per prompt are those of the tested model: of the last step, or of the best checkpoint so far.
        if tested is checkpoint and (step == notes.end(run) or selects):
            main = self.sets[run.task_id][MAIN].evaluation
            notes.per_prompt = packed(headline(task, main, measured[MAIN][main]))

    def _summaries(self, k: int, measured: dict[str, dict[str, ModelScores]]) -> dict[str, dict[str, Any]]:
        """A member's scores as a result has them, by evaluation."""
        task, summaries = self.stack.members[k].task, {}
        for purpose, by_name in measured.items():
            main = self.sets[self.stack.members[k].task_id][purpose].evaluation
            for name, scores in by_name.items():
                # A task may have several evaluations on one set of prompts. Selection needs only the main
                # one.
                if purpose == SELECTION and name != main:
                    continue
                summaries[purpose if name == main else name] = summary(
                    scores, headline(task, name, scores), positions=purpose != SELECTION
                )
        loss = self.notes.members[k].training_loss
        if task.training_evaluation is not None and loss is not None:
            # Training prompts are not scored one by one, so there is no standard error over prompts.
            pair = [loss, 0.0]
            summaries[task.training_evaluation] = {
                "mean": [loss], "standard_error": [0.0], "overall": pair, "headline": pair
            }  # fmt: skip
        return summaries
