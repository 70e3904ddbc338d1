"""What `aurelian connect` says of a name that it does not take."""

from __future__ import annotations

import pytest

from aurelian.local.connect_walk import _check_name


@pytest.mark.parametrize("name", ["Müller", "Werk 1", "-a", ""])
def test_a_name_that_is_refused_is_told_which_letters_there_are(name: str) -> None:
    with pytest.raises(ValueError, match="letters from a to z"):
        _check_name(name)


def test_a_name_of_plain_letters_is_taken() -> None:
    assert _check_name("mueller-1") == "mueller-1"
