r"""Stochastic gradient descent with an exact proximal step: training under a penalty that has corners.

With gradient g, momentum mu and learning rate lr::

    buffer = mu * buffer + g              as torch.optim.SGD
    y      = x - lr * buffer              as torch.optim.SGD
    owed   = lr * (1 + mu + mu^2 + ...)   the sum of the weights with which gradients entered the buffer
    x      = prox(y, owed)                argmin over x of 1/2 ||x - y||^2 + owed * penalty(x)

Momentum makes a gradient's step grow to lr / (1 - mu); so must the penalty's, or its strength silently falls to
(1 - mu) of what was asked for. At rest buffer = g / (1 - mu), and x = prox(x - owed * g, owed) is the condition of
optimality of loss + penalty, exactly. The penalty itself never enters the buffer.

There is no Adam here: its step differs from entry to entry, and OWL and GrOWL have no closed prox in that metric.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any, overload

import torch
from torch import Tensor
from torch.optim import Optimizer

from tyinglib import _sharded
from tyinglib.penalties import Penalty, difference_value, prox_difference


class ProxSGD(Optimizer):
    """SGD with momentum, and the exact proximal step of a penalty.

    Parameters
    ----------
    params
        Parameters, or groups as for any optimizer. A group may have a penalty of its own, or None. With
        ``model.parameters()`` and a `penalty`, biases and norms' scales are penalised too. To penalise weights alone,
        name them::

            [{"params": [layer.weight], "penalty": GrOWL(w, dim=1)}, {"params": [layer.bias], "penalty": None}]

        In a group with ``"pairs": True`` the penalty is on the difference of the first parameter and the second, of
        the third and the fourth, and so on: `sharing.tying_group` makes one of two models.
    lr
        The learning rate, >= 0. Schedulers may change it.
    momentum
        mu, 0 <= mu < 1.
    nesterov
        Nesterov's momentum, as in `torch.optim.SGD`.
    weight_decay
        Adds weight_decay * x to the gradient: a squared norm is smooth, and needs no prox.
    penalty
        For groups that do not name their own: one of `tyinglib.penalties`, or whatever has their methods
        (`penalties.Penalty`).
    prox_every
        k: the prox of every k-th step, with k steps owed at once. k times cheaper, and zeros survive the noise of
        the gradients in between; but weights drift for k steps, so k * lr / (1 - mu) must stay small. After the
        last step, call `apply_owed`.

    Raises
    ------
    ValueError
        If a number is out of its range, a penalty lacks a method or does not fit its parameters, or (in `step`) a
        gradient is sparse or a weight has become NaN or infinite.

    Notes
    -----
    Over several processes: with DistributedDataParallel as it is; with `torch.distributed.fsdp.fully_shard`, build the
    optimizer after sharding. There GrOWL and the group lasso exchange the n norms of the slices, not the weight; OWL,
    which sorts all entries, gathers it.

    Without a penalty it takes the steps of `torch.optim.SGD`, and each loads the other's state_dict. That holds
    numbers and buffers, no penalty, and loads with ``weights_only=True``: a penalty belongs to the program, as the
    model's class does, and stays in its group (``optimizer.param_groups[0]["penalty"]``), whatever is loaded.

    Examples
    --------
    >>> from tyinglib.penalties import L1
    >>> x = torch.nn.Parameter(torch.zeros(3))
    >>> optimizer = ProxSGD([x], lr=0.1, momentum=0.9, penalty=L1(1.0))
    >>> for _ in range(500):
    ...     optimizer.zero_grad()
    ...     (0.5 * (x - torch.tensor([3.0, 0.5, -2.0])).square().sum()).backward()
    ...     optimizer.step()
    >>> x.detach().round(decimals=4)
    tensor([ 2.,  0., -1.])

    Method: the proximal gradient step (Parikh and Boyd, 2014, section 4.2) with the penalty put through the filter
    that momentum is. Chapters: Norm penalties; GrOWL in a network.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float,
        momentum: float = 0.0,
        nesterov: bool = False,
        weight_decay: float = 0.0,
        *,
        penalty: Penalty | None = None,
        prox_every: int = 1,
    ) -> None:
        defaults = {
            "lr": lr,
            "momentum": momentum,
            "nesterov": nesterov,
            "weight_decay": weight_decay,
            "penalty": penalty,
            "prox_every": prox_every,
            "pairs": False,
        }
        super().__init__(params, defaults)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group, as for any optimizer; it may have a penalty.

        Parameters
        ----------
        param_group
            ``"params"``, and what the group has for itself; ``"penalty"`` and ``"pairs"`` may be among it.

        Raises
        ------
        ValueError
            If a number is out of its range, or the penalty does not fit. The optimizer is left as it was.
        """
        _check_numbers({**self.defaults, **param_group})
        before = len(self.param_groups)
        super().add_param_group(dict(param_group))
        try:
            _check_fit(self.param_groups[-1], before)
        except ValueError:
            del self.param_groups[before:]
            raise

    def state_dict(self) -> dict[str, Any]:
        """Numbers and buffers, as any optimizer's; None for penalties, and with what `torch.optim.SGD` asks for.

        Returns
        -------
        dict[str, Any]
            For `load_state_dict`, here or of `torch.optim.SGD`.
        """
        state: dict[str, Any] = super().state_dict()
        for group in state["param_groups"]:
            # the key stays: torch.distributed.checkpoint asks a flat state for every key of the optimizer's groups
            group.update({**SGD_ALONE, "penalty": None})
        return state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up a run: a state of this optimizer, or of `torch.optim.SGD`. Penalties stay as they are.

        Parameters
        ----------
        state_dict
            What `state_dict` returned. SGD's does not say how much of a gradient its buffers hold; they are taken to be
            full, as after a long run.

        Raises
        ------
        ValueError
            If it is another optimizer's, asks for dampening or for maximising, or is of other parameters. The optimizer
            is left as it was.
        """
        _check_state(state_dict["param_groups"])
        kept = [{name: group[name] for name in OWN} for group in self.param_groups]
        super().load_state_dict(state_dict)
        for group, own in zip(self.param_groups, kept, strict=True):
            for name in SGD_ALONE:
                group.pop(name, None)
            group.update({"penalty": own["penalty"], "pairs": own["pairs"]})
            group.setdefault("prox_every", own["prox_every"])

    @overload
    def step(self, closure: None = None) -> None: ...
    @overload
    def step(self, closure: Callable[[], float]) -> float: ...

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """One step for every parameter that has a gradient.

        Parameters
        ----------
        closure
            Evaluates the model again and returns the loss, as for any optimizer.

        Returns
        -------
        float or None
            What the closure returned.

        Raises
        ------
        ValueError
            If a gradient is sparse, or a weight under a penalty has become NaN or infinite.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for number, group in enumerate(self.param_groups):
            stepped = [x for x in group["params"] if x.grad is not None]
            for parameter in stepped:
                if parameter.grad.is_sparse:
                    raise ValueError("ProxSGD needs dense gradients; build the embedding with sparse=False")
                _descend(parameter, parameter.grad, self.state[parameter], group)
            if group["penalty"] is not None:
                due = {x for x in stepped if self.state[x]["steps"] % group["prox_every"] == 0}
                self._prox(group, number, due)
        return loss

    @torch.no_grad()
    def apply_owed(self) -> None:
        """Apply the penalty steps that `prox_every` still owes. After it, zeros and ties are exact.

        Raises
        ------
        ValueError
            If a weight under a penalty has become NaN or infinite.
        """
        for number, group in enumerate(self.param_groups):
            if group["penalty"] is not None:
                self._prox(group, number, {x for x in group["params"] if x in self.state})

    @torch.no_grad()
    def penalty_value(self) -> float:
        """The sum of the penalties at the parameters as they are: what to add to the loss to get the objective.

        Returns
        -------
        float
            0 without a penalty.
        """
        groups = [group for group in self.param_groups if group["penalty"] is not None]
        return sum(_value(group["penalty"], part) for group in groups for part in _parts(group))

    def _prox(self, group: dict[str, Any], number: int, due: set[Tensor]) -> None:
        """The proximal step of what is owed on the parts of a group that hold a parameter in `due`."""
        for part in _parts(group):
            owed = [self.state[x].get("owed", 0.0) if x in self.state else 0.0 for x in part]
            if not due.intersection(part) or not any(owed):
                continue  # nothing owed: after a step with lr = 0
            try:
                new = _prox(group["penalty"], [x.detach() for x in part], owed)
            except ValueError as error:
                self._name_divergence(group, number, part, error)
                raise
            for x, value in zip(part, new, strict=True):
                x.copy_(value)
                if x in self.state:
                    self.state[x]["owed"] = 0.0

    def _name_divergence(self, group: dict[str, Any], number: int, part: tuple[Tensor, ...], error: ValueError) -> None:
        for x in part:
            if not _sharded.all_finite(x):
                index = next(i for i, other in enumerate(group["params"]) if other is x)
                raise ValueError(
                    f"parameter {index} of group {number} (shape {tuple(x.shape)}) holds NaN or infinite values after "
                    "the gradient step; training diverged: lower lr, or look for NaN in the loss"
                ) from error


OWN = ("penalty", "pairs", "prox_every")  # what a group has that torch.optim.SGD's has not
SGD_ALONE = {"dampening": 0, "maximize": False, "foreach": None, "differentiable": False, "fused": None}


def _parts(group: dict[str, Any]) -> list[tuple[Tensor, ...]]:
    """What the penalty is applied to: each parameter by itself, or each pair."""
    params = group["params"]
    return list(zip(params[::2], params[1::2], strict=True)) if group["pairs"] else [(x,) for x in params]


def _value(penalty: Penalty, part: Iterable[Tensor]) -> float:
    x, *others = (weight.detach() for weight in part)
    return float(difference_value(x, others[0], penalty) if others else penalty.value(x))


def _prox(penalty: Penalty, part: list[Tensor], owed: list[float]) -> tuple[Tensor, ...]:
    if len(part) == 2:
        return prox_difference(part[0], part[1], penalty, owed[0], owed[1])
    return (penalty.prox(part[0], owed[0]),)


def _descend(parameter: Tensor, grad: Tensor, state: Any, group: dict[str, Any]) -> None:
    """The step of torch.optim.SGD; the weight of its gradients is added to what the penalty is owed."""
    lr, momentum = float(group["lr"]), group["momentum"]
    if group["weight_decay"]:
        grad = grad.add(parameter, alpha=group["weight_decay"])
    weight = 1.0
    if momentum:
        if state.get("momentum_buffer") is None:
            state["momentum_buffer"] = grad.clone()
            state["buffer_weight"] = 1.0
        else:
            state["momentum_buffer"].mul_(momentum).add_(grad)
            full = 1 / (1 - momentum)  # of a buffer that torch.optim.SGD has filled
            state["buffer_weight"] = momentum * state.get("buffer_weight", full) + 1.0
        if group["nesterov"]:
            grad = grad.add(state["momentum_buffer"], alpha=momentum)
            weight = 1.0 + momentum * state["buffer_weight"]
        else:
            grad, weight = state["momentum_buffer"], state["buffer_weight"]
    parameter.add_(grad, alpha=-lr)
    if group["penalty"] is not None:
        state["steps"] = state.get("steps", 0) + 1
        state["owed"] = state.get("owed", 0.0) + lr * weight


def _check_numbers(values: dict[str, Any]) -> None:
    for name, high in (("lr", math.inf), ("momentum", 1.0), ("weight_decay", math.inf)):
        value = values[name].item() if isinstance(values[name], Tensor) else values[name]
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < high:
            raise ValueError(f"{name} must be a number with 0 <= {name} < {high:g}, got {value!r}")
    if values["nesterov"] and not values["momentum"]:
        raise ValueError("nesterov=True needs a momentum above 0")
    k = values["prox_every"]
    if isinstance(k, bool) or not isinstance(k, int) or k < 1:
        raise ValueError(f"prox_every must be a whole number of steps >= 1, got {k!r}")


def _check_fit(group: dict[str, Any], number: int) -> None:
    penalty, params = group["penalty"], group["params"]
    if group["pairs"] and (len(params) % 2 or penalty is None):
        raise ValueError(
            f"group {number} has pairs=True: it needs a penalty and an even number of parameters, "
            f"x_1, y_1, x_2, y_2, ... (sharing.tying_group makes one), got {penalty!r} and {len(params)} parameters"
        )
    if penalty is None:
        return
    if not isinstance(penalty, Penalty) or isinstance(penalty, type):
        raise ValueError(
            f"the penalty of group {number} must be None or have value(weight), prox(weight, step_size) and "
            f"factor_to_zero(grad), as those in tyinglib.penalties, got {penalty!r}"
        )
    for index, part in enumerate(_parts(group)):
        shapes = [tuple(x.shape) for x in part]
        if len(set(shapes)) > 1:
            raise ValueError(f"pair {index} of group {number} has two shapes, {shapes[0]} and {shapes[1]}")
        try:
            _value(penalty, part)
        except ValueError as error:
            raise ValueError(
                f"{penalty!r} does not fit {'pair' if group['pairs'] else 'parameter'} {index} of group {number}, of "
                f"shape {shapes[0]}: {error}. Put parameters without a penalty (biases) into a group with penalty None"
            ) from error


def _check_state(groups: list[dict[str, Any]]) -> None:
    for number, group in enumerate(groups):
        if "momentum" not in group:
            raise ValueError(
                "the state is neither ProxSGD's nor torch.optim.SGD's: its groups have "
                f"{', '.join(sorted(set(group) - {'params'}))}, and no momentum"
            )
        if group.get("dampening") or group.get("maximize"):
            raise ValueError(
                f"group {number} of the state has dampening={group.get('dampening', 0)!r}, "
                f"maximize={group.get('maximize', False)!r}: ProxSGD takes no such steps"
            )
