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
from torch import Tensor, nn
from torch.optim import Optimizer

from tyinglib import _sharded
from tyinglib.penalties.protocol import Penalty


class ProxSGD(Optimizer):
    """SGD with momentum, and the exact proximal step of a penalty.

    Parameters
    ----------
    params
        Parameters, or groups as for any optimizer. A group may have a penalty of its own, or None. With
        ``model.parameters()`` and a `penalty`, biases and norms' scales are penalised too. To penalise weights alone,
        name them::

            [{"params": [layer.weight], "penalty": GrOWL(weights, dim=1)}, {"params": [layer.bias], "penalty": None}]

    lr
        The learning rate, >= 0. Schedulers may change it.
    momentum
        mu, 0 <= mu < 1.
    nesterov
        Nesterov's momentum, as in `torch.optim.SGD`.
    weight_decay
        Adds weight_decay * x to the gradient: a squared norm is smooth, and needs no prox.
    penalty
        For groups that do not name their own. Anything with ``value`` and ``prox`` (`penalties.Penalty`).
    prox_every
        k: the prox of every k-th step, with k steps owed at once. k times cheaper, and zeros survive the noise of
        the gradients in between; but weights drift for k steps, so k * lr / (1 - mu) must stay small. After the
        last step, call `apply_owed`.

    Raises
    ------
    ValueError
        If a number is out of its range, a penalty has no ``value`` and ``prox`` or does not fit its parameters,
        or (in `step`) a gradient is sparse or a weight has become NaN or infinite.

    Notes
    -----
    Over several processes: with DistributedDataParallel as it is; with `torch.distributed.fsdp.fully_shard`, build the
    optimizer after sharding. There GrOWL and the group lasso exchange the n norms of the slices, not the weight; OWL,
    which sorts all entries, gathers it.

    Without a penalty it takes the steps of `torch.optim.SGD`. The state_dict holds numbers and buffers and loads
    with ``weights_only=True``; penalties belong to the program, as the model's class does, and stay as they are.

    Examples
    --------
    >>> from tyinglib.penalties import L1
    >>> x = nn.Parameter(torch.zeros(3))
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
            "prox_every": prox_every,
        }
        self._default_penalty = penalty
        self._penalties: list[Penalty | None] = []  # one a group; not in the groups: see Notes
        super().__init__(params, defaults)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group, as for any optimizer; it may have a penalty.

        Parameters
        ----------
        param_group
            ``"params"``, and what the group has for itself; ``"penalty"`` may be among it.

        Raises
        ------
        ValueError
            If a number is out of its range, or the penalty does not fit. The optimizer is left as it was.
        """
        group = dict(param_group)
        penalty = group.pop("penalty", self._default_penalty)
        _check_numbers({**self.defaults, **group})
        before = len(self.param_groups)
        super().add_param_group(group)
        try:
            _check_fit(penalty, self.param_groups[-1]["params"], before)
        except ValueError:
            del self.param_groups[before:]
            raise
        self._penalties.append(penalty)

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
        for number, (group, penalty) in enumerate(zip(self.param_groups, self._penalties, strict=True)):
            for index, parameter in enumerate(group["params"]):
                if parameter.grad is None:
                    continue
                if parameter.grad.is_sparse:
                    raise ValueError("ProxSGD needs dense gradients; build the embedding with sparse=False")
                state = self.state[parameter]
                _descend(parameter, parameter.grad, state, group, counting=penalty is not None)
                if penalty is not None and state["steps"] % group["prox_every"] == 0:
                    _prox(parameter, penalty, state, f"parameter {index} of group {number}")
        return loss

    @torch.no_grad()
    def apply_owed(self) -> None:
        """Apply the penalty steps that `prox_every` still owes. After it, zeros and ties are exact.

        Raises
        ------
        ValueError
            If a weight under a penalty has become NaN or infinite.
        """
        for number, (group, penalty) in enumerate(zip(self.param_groups, self._penalties, strict=True)):
            for index, parameter in enumerate(group["params"]):
                if penalty is not None and parameter in self.state:
                    _prox(parameter, penalty, self.state[parameter], f"parameter {index} of group {number}")

    @torch.no_grad()
    def penalty_value(self) -> float:
        """The sum of the penalties at the parameters as they are: what to add to the loss to get the objective.

        Returns
        -------
        float
            0 without a penalty.
        """
        groups = zip(self.param_groups, self._penalties, strict=True)
        return sum(float(penalty.value(x)) for group, penalty in groups if penalty is not None for x in group["params"])

    @property
    def penalties(self) -> tuple[Penalty | None, ...]:
        """The penalty of each parameter group."""
        return tuple(self._penalties)

    def __getstate__(self) -> dict[str, Any]:
        """What deepcopy and pickle keep: torch's own, and the penalties."""
        kept: dict[str, Any] = super().__getstate__()
        return {**kept, "_penalties": self._penalties, "_default_penalty": self._default_penalty}


def _descend(parameter: Tensor, grad: Tensor, state: Any, group: dict[str, Any], *, counting: bool) -> None:
    """The step of torch.optim.SGD; `counting` adds the weight of its gradients to what the penalty is owed."""
    lr, momentum = float(group["lr"]), group["momentum"]
    if group["weight_decay"]:
        grad = grad.add(parameter, alpha=group["weight_decay"])
    weight = 1.0
    if momentum:
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = grad.clone()
            state["buffer_weight"] = 1.0
        else:
            state["momentum_buffer"].mul_(momentum).add_(grad)
            state["buffer_weight"] = momentum * state["buffer_weight"] + 1.0
        if group["nesterov"]:
            grad = grad.add(state["momentum_buffer"], alpha=momentum)
            weight = 1.0 + momentum * state["buffer_weight"]
        else:
            grad, weight = state["momentum_buffer"], state["buffer_weight"]
    parameter.add_(grad, alpha=-lr)
    if counting:
        state["steps"] = state.get("steps", 0) + 1
        state["owed"] = state.get("owed", 0.0) + lr * weight


def _prox(parameter: Tensor, penalty: Penalty, state: Any, name: str) -> None:
    if not state.get("owed"):
        return  # nothing owed: after a step with lr = 0
    try:
        parameter.copy_(penalty.prox(parameter.detach(), state["owed"]))
    except ValueError as error:
        if _sharded.all_finite(parameter):
            raise
        raise ValueError(
            f"{name} (shape {tuple(parameter.shape)}) holds NaN or infinite values after the gradient step; "
            "training diverged: lower lr, or look for NaN in the loss"
        ) from error
    state["owed"] = 0.0


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


def _check_fit(penalty: Any, parameters: list[nn.Parameter], group: int) -> None:
    if penalty is None:
        return
    if not isinstance(penalty, Penalty) or isinstance(penalty, type):
        raise ValueError(
            f"the penalty of group {group} must be None or have value(weight) and prox(weight, step_size), "
            f"as those in tyinglib.penalties, got {penalty!r}"
        )
    for index, parameter in enumerate(parameters):
        try:
            penalty.value(parameter.detach())
        except ValueError as error:
            raise ValueError(
                f"{penalty!r} does not fit parameter {index} of group {group}, of shape {tuple(parameter.shape)}: "
                f"{error}. Put parameters without a penalty (biases) into a group with penalty None"
            ) from error
