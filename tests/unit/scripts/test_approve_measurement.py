from confidential_spark.verification import load_policy

from scripts.approve_measurement import POLICY, allow, allowed_measurements

OTHER = "ab" * 32


def test_an_approval_adds_and_takes_nothing_away(tmp_path):
    policy = tmp_path / "simulation.yaml"
    policy.write_text(POLICY.read_text())
    (tmp_path / "roots").symlink_to(POLICY.parent / "roots")
    before = allowed_measurements(policy)

    allow(policy, OTHER)

    assert allowed_measurements(policy) == [*before, OTHER]
    assert set(load_policy(policy).identities.mrenclave.allow) == {*before, OTHER}
