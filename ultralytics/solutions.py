"""The reference's names for programs around tracking."""

from ultralytics.utils.lazy import later

_COUNT = "predict save_txt=True writes what can be counted, result.boxes holds it"
_NAMES = """AIGym Analytics DistanceCalculation Heatmap ObjectCounter ParkingManagement ParkingPtsSelection QueueManager
SpeedEstimator inference"""
__getattr__ = later(__name__, {}, dict.fromkeys(_NAMES.split(), _COUNT))
