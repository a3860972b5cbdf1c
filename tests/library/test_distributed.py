"""Two and four processes give what one gives: training, proximal steps, checkpoints; and wrong orders are named.

Gradients of a batch's parts are averaged in another order than one process adds: results differ by rounding, which
50 steps of a smooth model make a few times larger. 1e-12 is thousands of roundings of numbers of size 1.
"""

import processes
import pytest
import torch

CLOSE = {"rtol": 0, "atol": 1e-12}
pytestmark = pytest.mark.skipif(
    not hasattr(torch.cpu.Stream, "record_event"), reason="this torch's fully_shard needs a GPU (2.6 does)"
)


@pytest.fixture(scope="module", params=[2, 4])
def group(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(f"processes{request.param}")
    return processes.start(request.param, folder), folder


@pytest.fixture(scope="module")
def alone():
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        return {hidden: processes.train(processes.build(hidden)) for hidden in (6, 7)}
    finally:
        torch.set_default_dtype(before)


def same(state, other, **close):
    assert state.keys() == other.keys()
    for key, value in state.items():
        torch.testing.assert_close(value, other[key], **close, msg=lambda text, key=key: f"{key}: {text}")


@pytest.mark.parametrize(("how", "hidden"), [("ddp", 6), ("fsdp", 6), ("uneven", 7)])
def test_training_is_what_one_process_does(group, alone, how, hidden):
    found, _ = group
    expected = alone[hidden]
    for one in found:
        same(one[how]["state"], expected["state"], **CLOSE)
        assert one[how]["penalty"] == pytest.approx(expected["penalty"], rel=1e-12)
        same(one[how]["state"], found[0][how]["state"], rtol=0, atol=0)
    norms = expected["state"]["0.weight"].norm(dim=0)
    assert (norms == 0).any(), "the penalty has put no input to zero: the test would not see it"
    assert norms.any()


def test_prox_of_parts(group):
    """Sharded in any way, a prox is that of the whole, and stays sharded so; NaN is named by every process."""
    for one in group[0]:
        for case in one["prox"]:
            name = case["name"]
            assert case["stays"], name
            assert case["error"] < 1e-14, name
            assert case["zeros"], name
            assert abs(case["value"]) < 1e-14, name
            assert case["factor_to_zero"], name
            assert case["slope"] < 1e-14, name
            assert "NaN or infinite" in case["NaN"], name


def test_norms_travel_not_weights(group):
    found, _ = group
    sent = {case["name"]: case["sent"] for case in found[0]["prox"]}
    for name, count in sent.items():
        # these two first ask whether all is finite, and send one number; the elastic net does in both of its steps
        messages = 2 if name.startswith(("ElasticNet", "GroupLasso")) else 1
        assert count == messages * name.count("Shard("), name


def test_a_checkpoint_goes_on_where_it_was_written(group, alone):
    for one in group[0]:
        same(one["resumed"], alone[6]["state"], **CLOSE)


@pytest.mark.filterwarnings("ignore:torch.distributed is disabled:UserWarning")  # what is meant
def test_a_checkpoint_of_several_processes_goes_on_in_one(group, alone):
    _, folder = group
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        state = processes.continued(folder / "checkpoint", 0, 1)
    finally:
        torch.set_default_dtype(before)
    same(state, alone[6]["state"], **CLOSE)


def test_what_cannot_go_right_is_said_on_every_process(group):
    for one in group[0]:
        said = one["refused"]
        for what, text in said.items():
            assert "is sharded over processes already" in text, what
        assert "tie first, then fully_shard, then build the optimizer" in said["tie"]
        assert said["share"] == said["share into"]
        assert "share first, then fully_shard" in said["share"]
        assert "full_tensor()" in said["find"]
        assert "full_state_dict=True" in said["save"]
        assert "load first, then fully_shard" in said["load"]


def test_check_sharing_sees_wrong_orders(group):
    for one in group[0]:
        found = one["looked at"]
        assert found["in order"] == []
        assert found["optimizer before fully_shard"] == ["stale", "untrained"]
        assert found["tied after DDP"] == ["ddp"]
        assert set(found["equal twins"]) <= {"equal"}
        assert found["equal twins"], "each process looks at its own part"


def test_counts_are_of_the_whole_model(group):
    from tyinglib import count_parameters

    expected = vars(count_parameters(processes.build()))
    for one in group[0]:
        assert one["counted"] == expected
