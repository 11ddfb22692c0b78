import pytest

from ultralytics.utils.errors import ConfigError, MissingFileError, UserError, nearest


def test_one_line_with_what_where_and_the_mend():
    assert str(UserError("it broke", "file:3", "hint it")) == "file:3: it broke (hint it)"
    assert str(UserError("it broke")) == "it broke"
    assert str(MissingFileError("no such file", "a.txt")) == "a.txt: no such file"


def test_they_are_pythons_kinds_too():
    with pytest.raises(ValueError, match="x"):
        raise ConfigError("x")
    with pytest.raises(FileNotFoundError, match="x"):
        raise MissingFileError("x")


def test_the_nearest_word():
    assert nearest("imgz", ["imgsz", "epochs"]) == "did you mean 'imgsz'?"
    assert nearest("zzz", ["imgsz"]) == ""
