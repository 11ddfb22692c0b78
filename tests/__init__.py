"""The tests. With ULTRALYTICS_HERMETIC=1 they run without a network and on read-only folders: see tests/hermetic."""

from tests import hermetic

hermetic.install()  # before a test imports what may want to write or to connect
