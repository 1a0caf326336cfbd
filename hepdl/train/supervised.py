"""The supervised loop: fit a network to labelled, weighted events, in plain torch.

Read `fit` from top to bottom: the order of an epoch is a function of seed and epoch, its events
are gathered once and its minibatches are views; the host waits for the device every few steps
only; each epoch ends in a checkpoint, and a stop request is heard before each minibatch. A run that
is stopped or killed and resumed ends in the parameters of the run that was not.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import Parameter

from hepdl.evaluate.roc import auc
from hepdl.events import Events
from hepdl.losses import Loss, Penalty
from hepdl.models import Network
from hepdl.train.state.auxiliary import AuxiliaryHeads
from hepdl.train.state.batch_norm import running_statistics, shared_batch_norm
from hepdl.train.state.checkpoint import CheckpointFolder
from hepdl.train.state.checks import check_options, check_parts
from hepdl.train.state.compilation import Forward, compiled
from hepdl.train.state.decorrelator import Decorrelation, as_decorrelation
from hepdl.train.state.device import device_of, numerics
from hepdl.train.state.gradient_sum import GradientSum
from hepdl.train.state.ledger import Ledger
from hepdl.train.state.minibatches import Minibatch, Plan
from hepdl.train.state.options import TrainOptions
from hepdl.train.state.ranks import Ranks
from hepdl.train.state.result import FitResult, Hook, Observe, StepView
from hepdl.train.state.saver import Saver
from hepdl.train.state.scoring import predict_logits
from hepdl.train.state.signals import StopRequest
from hepdl.train.state.sources import EventSource, as_source, sample_of, without_features
from hepdl.train.state.training_state import TrainingState, identity_of

__all__ = ["fit"]

log = logging.getLogger(__name__)


def fit(
    model: Network,
    train: Events | EventSource,
    validation: Events,
    *,
    options: TrainOptions,
    loss: Loss,
    decorrelation: Decorrelation | Penalty | None = None,
    auxiliary: AuxiliaryHeads | None = None,
    ranks: Ranks | None = None,
    observe: Observe,
    hooks: Sequence[Hook] = (),
    checkpoint: CheckpointFolder | None = None,
    resume: bool = False,
    stop: StopRequest | None = None,
) -> FitResult:
    """Fit the network in place, on the device where it is.

    At the end the network has the parameters of the epoch with the best weighted validation AUC.
    With a decorrelation penalty it has those of the last epoch, and ``patience`` is not used: the
    best AUC would always choose the epoch that is decorrelated least.

    Args:
        model: The network; also a ``torch.nn.Module``.
        train: Training part, scaled; its ``event_weight`` is the training weight. With
            ``options.stream`` it may be a source that reads its events when they are needed.
        validation: Validation part, scaled, with weights of its own.
        options: See `TrainOptions`.
        loss: Loss of the classification, normalised by the sum of |w|.
        decorrelation: Penalty to be added to it, alone or with a target or a layer.
        auxiliary: Further heads on intermediate layers.
        ranks: The processes that fit together, each with all of the training part; None is one.
        observe: Called after each epoch with train_loss, validation_loss, validation_auc,
            learning_rate (of the last step), gradient_norm (mean over the steps at which the host
            waits for the device, over all with ``clip_norm``, then before clipping), seconds, with
            a penalty train_penalty, and train_auxiliary_NAME of each head; and the epoch. After a
            kill between ``observe`` and the checkpoint the resumed run observes that epoch again,
            with the same values.
        hooks: Called after each step with a `StepView`.
        checkpoint: Where to write the state after each epoch; None writes nothing.
        resume: Continue from the checkpoint if there is one.
        stop: Asked before each minibatch.

    Raises:
        ConfigError: The checkpoint belongs to another fit, or options exclude each other.
        DataError: A class is missing in a part, or its weights do not sum to a positive number.
        DivergedError: A loss or gradient is not finite, or the loss grows from the beginning; the
            last checkpoint is kept.
        StoppedError: A stop was requested; the exact position is in the checkpoint.
    """
    network = cast("nn.Module", model)
    device = device_of(network)
    against = as_decorrelation(decorrelation)
    penalty = None if against is None else against.penalty
    source, validation = as_source(train, options, device), validation.to(device)
    plan = Plan(source, options, ranks=ranks or Ranks.alone(), device=device)
    columns = without_features(source)
    sample = sample_of(source, options.minibatch_size).to(device)
    check_parts(columns, validation)
    check_options(options, len(source), decorrelation=penalty, ranks=plan.ranks)
    with (
        numerics(options, device, rank=plan.ranks.rank),
        shared_batch_norm(network, plan.ranks) as joins_always,
        _attached(auxiliary, model, columns, sample),
        ExitStack() as at_the_end,
    ):
        plan.ranks.share_parameters(network)
        state = TrainingState.begin(
            model,
            columns,
            plan=plan,
            sample=sample,
            decorrelation=against,
            auxiliary=auxiliary,
        )
        if state.decorrelator is not None:
            at_the_end.callback(state.decorrelator.remove)
        saver = Saver(state, checkpoint, stop, ranks=plan.ranks)
        if checkpoint is not None:
            saver.start(identity_of(state, loss, source, validation, plan=plan), resume=resume)
        progress = state.progress
        forward: Forward = network
        if options.compile:
            forward = compiled(model, sample, precision=state.precision, decorrelation=penalty)
        learner = _Learner(model, forward, loss, state, saver, plan, joins_always)
        again = _Learner(model, network, loss, state, saver, plan, joins_always).learn
        ledger = Ledger(state, saver, ranks=plan.ranks, again=again)
        while not progress.is_finished:
            network.train()
            ledger.open_epoch()
            for minibatch in plan.epoch(progress.epoch, skip=progress.sums.minibatches):
                if saver.must_stop:
                    ledger.read(is_scheduled=False)
                    saver.stop()
                ledger.add(minibatch, learner.learn(minibatch))
                for hook in hooks:
                    hook(StepView(progress.step, progress.epoch, network, minibatch.events))
                if progress.step % options.sync_every == 0:
                    ledger.read(is_scheduled=True)
            ledger.read(is_scheduled=True)
            metrics = _metrics(model, validation, state, loss, saver, plan)
            observe(metrics, progress.epoch)
            _finish_epoch(state, metrics, options, n_events=len(source))
            saver.save()
        network.load_state_dict(state.best_parameters)
    return FitResult(
        best_epoch=progress.best_epoch,
        best_validation_auc=progress.best_auc,
        history=progress.history,
        fit_seconds=progress.fit_seconds,
        events_per_second=progress.n_trained / max(progress.training_seconds, 1e-9),
        n_parameters=sum(p.numel() for p in network.parameters() if p.requires_grad),
        stopped_early=progress.stopped_early,
    )


class _Learner:
    """Learns from one minibatch after the other; every number stays on the device."""

    def __init__(
        self,
        model: Network,
        forward: Forward,
        loss: Loss,
        state: TrainingState,
        saver: Saver,
        plan: Plan,
        joins_always: bool,
    ) -> None:
        self._model = model
        self._forward = forward
        self._loss = loss
        self._state = state
        self._saver = saver
        self._plan = plan
        self._options = plan.options
        # Synchronised batch norm waits for every rank, also for one without events.
        self._joins_always = joins_always
        self._parameters = state.parameters
        # Without the parameters of auxiliary heads: one that only watches must not steer.
        self._limited = list(state.network.parameters())
        statistics = running_statistics(state.network)
        self._gradient_sum = GradientSum(self._parameters, plan.ranks, statistics=statistics)

    def learn(self, minibatch: Minibatch) -> dict[str, Tensor]:
        """Do one step, and return its losses as they are observed."""
        state, options = self._state, self._options
        epoch, n_minibatches = state.progress.epoch, self._plan.n_minibatches
        rate = state.rate.at(epoch, minibatch.number, n_minibatches)
        for group in state.optimizer.param_groups:
            group["lr"] = rate
        for parameter in self._parameters:
            parameter.grad = None
        position = epoch + minibatch.number / n_minibatches
        losses: dict[str, Tensor] = {}
        chunks = minibatch.chunks
        if not chunks and self._joins_always:
            chunks = [(minibatch.events, 0.0)]
        for events, share in chunks:
            logits, total = self._losses(events, share, position, losses)
            if state.decorrelator is None:
                state.precision.backward(total)
        if not losses:
            logits, total = self._nothing(minibatch.events, losses)
        if state.decorrelator is not None:
            penalty = state.decorrelator.penalty(
                logits, minibatch, epoch=position, n_epochs=options.epochs
            )
            losses |= state.decorrelator.observed
            (total + penalty).backward()
        if not self._plan.ranks.is_alone:
            share = len(minibatch.events) / minibatch.n_events
            if self._gradient_sum(share=share, stop=self._saver.is_asked):
                self._saver.agree()
        state.precision.unscale(state.optimizer)
        if options.clip_norm is not None:
            losses["gradient_norm"] = _limit_gradient(self._limited, options.clip_norm)
        state.precision.step(state.optimizer)
        if state.decorrelator is not None:
            state.decorrelator.step()
        if state.average is not None:
            state.average.update()
        return losses

    def _losses(
        self, events: Events, share: float, position: float, losses: dict[str, Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Return logits and weighted loss of a chunk, and add its parts to ``losses``."""
        state = self._state
        with state.precision.autocast():
            logits = self._forward(*self._model.prepare(events))
        logits = state.precision.full(logits)
        total = self._loss(logits, events.label, None, events.event_weight)
        parts = {"train_loss": total.detach()}
        if state.auxiliary is not None:
            total = total + state.auxiliary.loss(
                events, position=position, n_epochs=self._options.epochs
            )
            parts |= _by_head(state.auxiliary)
        if share == 1:
            losses |= parts
            return logits, total
        for name, value in parts.items():
            losses[name] = losses.get(name, 0.0) + share * value
        return logits, share * total

    def _nothing(self, events: Events, losses: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Return what a rank without events adds to the minibatch of the others."""
        zero = events.event_weight.sum()
        losses["train_loss"] = zero
        if self._state.auxiliary is not None:
            losses |= dict.fromkeys(_by_head(self._state.auxiliary), zero)
        return events.event_weight, zero


def _by_head(auxiliary: AuxiliaryHeads) -> dict[str, Tensor]:
    """Return the latest loss of each head."""
    values = zip(auxiliary.names, auxiliary.latest.unbind(), strict=True)
    return {f"train_auxiliary_{name}": value for name, value in values}


def _limit_gradient(parameters: Sequence[Parameter], largest: float) -> Tensor:
    """Return the norm of the whole gradient, and shorten it to ``largest`` if longer."""
    gradients = [p.grad for p in parameters if p.grad is not None]
    norm = torch.nn.utils.get_total_norm(gradients)
    torch.nn.utils.clip_grads_with_norm_(parameters, largest, norm)
    return norm


def _metrics(
    model: Network,
    validation: Events,
    state: TrainingState,
    loss: Loss,
    saver: Saver,
    plan: Plan,
) -> dict[str, float]:
    """Return what is observed of the epoch that has just been trained."""
    started = time.perf_counter()
    n_events, weight = len(validation), validation.event_weight
    # Each rank scores a part.
    first, end = plan.ranks.share(0, n_events)
    with nullcontext() if state.average is None else state.average.in_place():
        logits = predict_logits(
            model,
            validation.slice(first, end),
            minibatch_size=plan.options.evaluation_minibatch_size,
        )
    logits = plan.ranks.whole(logits, first=first, n_rows=n_events)
    with torch.no_grad():
        value = float(loss(logits, validation.label, None, weight))
    if not (math.isfinite(value) and bool(torch.isfinite(logits).all())):
        saver.diverged(f"after the epoch the validation loss is {value:g}")
    area = auc(validation.label.cpu().numpy(), logits.cpu().numpy(), weight.cpu().numpy())
    return state.progress.sums.means() | {
        "validation_loss": value,
        "validation_auc": area,
        "learning_rate": float(state.optimizer.param_groups[0]["lr"]),
        "seconds": state.progress.sums.seconds + time.perf_counter() - started,
    }


def _finish_epoch(
    state: TrainingState, metrics: dict[str, float], options: TrainOptions, *, n_events: int
) -> None:
    """Choose, decide whether to stop early, and move on to the next epoch."""
    progress = state.progress
    progress.history.append(metrics)
    chooses = state.decorrelator is None
    if not chooses or metrics["validation_auc"] > progress.best_auc:
        progress.best_epoch, progress.best_auc = progress.epoch, metrics["validation_auc"]
        state.keep_best()
    patience = options.patience if chooses else None
    waited = progress.epoch - progress.best_epoch
    progress.next_epoch(n_events)
    progress.stopped_early = patience is not None and waited >= patience
    progress.is_finished = progress.stopped_early or progress.epoch >= options.epochs
    state.rate.end_epoch(metrics["validation_loss"])
    log.debug("epoch %d: %s", progress.epoch - 1, metrics)


@contextmanager
def _attached(
    auxiliary: AuxiliaryHeads | None, model: Network, columns: Events, sample: Events
) -> Iterator[None]:
    """Let the heads, if any, listen to the network for as long as the block runs."""
    if auxiliary is None:
        yield
        return
    auxiliary.fit_targets(columns)
    auxiliary.attach(model, sample)
    try:
        yield
    finally:
        auxiliary.remove()
