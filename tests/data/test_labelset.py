"""Labels of a split in flat arrays."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ultralytics.data.labelset import FileNames


@given(st.lists(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1), max_size=9))
def test_names_in_one_array_are_the_names(names):
    kept = FileNames(names)
    assert len(kept) == len(names)
    assert list(kept) == names == [kept[i] for i in range(len(names))]
    assert kept[-2:] == names[-2:]
    with pytest.raises(IndexError):
        kept[len(names)]
