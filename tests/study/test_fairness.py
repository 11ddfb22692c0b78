import pytest

from ultralytics.study.fairness import differences
from ultralytics.study.record import FAILED, FINISHED, RunRecord

FACTS = {
    "train data": "a", "val data": "b", "test data": "c", "epochs planned": 5, "epochs run": 5, "steps planned": 40,
    "steps done": 40, "selection": "best epoch by fitness on val", "evaluator": "x 1.0", "transferred share": 1.0,
    "code": "sha256:1", "torch": "2.13", "threads": 1, "device": "cpu",
}  # fmt: skip


def record(arm, seed=0, keys=None, state=FINISHED, **facts):
    changed = {k.replace("_", " "): v for k, v in facts.items()}
    return RunRecord(arm, seed, state, f"{arm}-{seed}", facts={**FACTS, **changed}, keys=keys or {"model": arm})


def study(**facts):
    return [record("plain"), record("plain", 1), record("fla", **facts), record("fla", 1, **facts)]


def test_arms_that_were_treated_alike_differ_in_nothing():
    assert differences(study(), "plain", {"model"}) == []


@pytest.mark.parametrize(
    ("fact", "value"),
    [
        ("train data", "z"), ("test data", "z"), ("steps planned", 41), ("selection", "last epoch"),
        ("evaluator", "x 2.0"), ("transferred share", 0.9), ("transferred share", None), ("threads", 2),
    ],
)  # fmt: skip
def test_each_fact_that_differs_is_one_line_with_both_values(fact, value):
    message = differences(study(**{fact: value}), "plain", {"model"})
    assert len(message) == 1
    shown = "none" if value is None else value
    assert message[0] == f"fla and plain: {fact}: {shown} and {FACTS[fact]} (seeds 0, 1)"


def test_a_key_must_be_declared():
    records = [record("plain", keys={"model": "a"}), record("fla", keys={"model": "b", "lr0": 0.1})]
    message = differences(records, "plain", {"model"})
    assert message == ["fla and plain: the key lr0 is 0.1 and its default, and is not declared under arms (seed 0)"]
    assert differences(records, "plain", {"model", "lr0"}) == []


def test_early_stopping_is_named():
    message = differences([record("plain"), record("fla", epochs_run=3, steps_done=24)], "plain", {"model"})
    assert len(message) == 1
    assert "early stopping made the training unequal: 3 epochs, 24 steps and 5 epochs, 40 steps" in message[0]


def test_a_longer_plan_is_no_early_stop():
    longer = {"epochs planned": 6, "epochs run": 6, "steps planned": 48, "steps done": 48}
    message = differences(study(**longer), "plain", {"model", "epochs"})
    assert len(message) == 4
    assert not any("early" in line for line in message)


def test_seeds_of_an_arm_must_share_code_and_data():
    records = [record("plain"), record("fla"), record("plain", 1, code="sha256:2"), record("fla", 1, code="sha256:2")]
    message = differences(records, "plain", {"model"})
    assert message == [f"{a}: code: sha256:1 with seed 0 and sha256:2 with seed 1" for a in ("plain", "fla")]


def test_failed_runs_and_seeds_without_a_partner_are_passed_over():
    records = [record("plain"), record("fla", state=FAILED, torch="1"), record("fla", 1, threads=7)]
    assert differences(records, "plain", {"model"}) == []


def test_what_follows_from_a_declared_key_is_no_difference():
    records = study(optimizer="SGD", imgsz=640)
    assert len(differences(records, "plain", {"model"})) == 2
    assert differences(records, "plain", {"model", "optimizer", "imgsz"}) == []
    assert len(differences(study(**{"steps planned": 9}), "plain", {"model", "batch"})) == 1
