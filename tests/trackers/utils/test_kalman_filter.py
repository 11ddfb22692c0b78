import numpy as np
import pytest

from ultralytics.trackers.utils.kalman_filter import KalmanFilterXYAH, KalmanFilterXYWH

FILTERS = [KalmanFilterXYAH(), KalmanFilterXYWH()]


def test_a_box_is_corrected_by_hand():
    """Width 10 and height 20: the first variance of x is (2 × 10 / 20)² = 1, that of a measurement (10 / 20)² = 1/4, so
    that the gain is 1 / 1.25 = 0.8. The velocity does not change, as nothing ties it to x yet."""
    kalman = KalmanFilterXYWH()
    mean, covariance = kalman.initiate(np.array([50.0, 60, 10, 20]))
    assert covariance[0, 0] == pytest.approx(1)
    assert covariance[4, 4] == pytest.approx((10 * 10 / 160) ** 2)
    mean, covariance = kalman.update(mean, covariance, np.array([51.0, 60, 10, 20]))
    np.testing.assert_allclose(mean, [50.8, 60, 10, 20, 0, 0, 0, 0])
    assert covariance[0, 0] == pytest.approx(1 - 0.8)


def test_a_frame_is_predicted_by_hand():
    """Of ByteTrack, height 20: x moves by its velocity; its variance is 4 + (200 / 160)² and the noise (20 / 20)²."""
    kalman = KalmanFilterXYAH()
    mean, covariance = kalman.initiate(np.array([50.0, 60, 0.5, 20]))
    mean[4] = 3
    mean, covariance = kalman.predict(mean, covariance)
    np.testing.assert_allclose(mean, [53, 60, 0.5, 20, 3, 0, 0, 0])
    assert covariance[0, 0] == pytest.approx(4 + (200 / 160) ** 2 + 1)
    assert covariance[2, 2] == pytest.approx(1e-4 + 1e-10 + 1e-4)
    assert covariance[0, 4] == covariance[4, 0] == pytest.approx((200 / 160) ** 2)


@pytest.mark.parametrize("kalman", FILTERS)
def test_a_batch_is_its_parts(kalman):
    rng = np.random.default_rng(0)
    boxes = rng.uniform(20, 50, (7, 4))
    states, covariances = kalman.predict(*kalman.initiate(kalman.measured(boxes)))
    seen = kalman.measured(boxes + 1)
    together = kalman.update(states, covariances, seen)
    for i in range(7):
        alone = kalman.update(states[i], covariances[i], seen[i])
        np.testing.assert_allclose(together[0][i], alone[0], rtol=1e-12)
        np.testing.assert_allclose(together[1][i], alone[1], rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(kalman.xywh(kalman.measured(boxes)), boxes)


@pytest.mark.parametrize("kalman", FILTERS)
def test_a_steady_motion_is_learnt(kalman):
    at = np.array([100.0, 50, 30, 40])
    state = kalman.initiate(kalman.measured(at))
    for _ in range(40):
        at = at + np.array([2.0, -1, 0, 0])
        state = kalman.update(*kalman.predict(*state), kalman.measured(at))
    np.testing.assert_allclose(state[0][4:6], [2, -1], atol=0.02)
    assert (np.linalg.eigvalsh(state[1]) > 0).all()
