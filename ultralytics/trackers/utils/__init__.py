"""The parts of the trackers: filter, assignment, motion of the camera."""
