"""The switch of TensorFlow's that a call sets, and leaves as it was."""

from __future__ import annotations

import os

import pytest

from w2s_export.runtime.onednn import onednn

SWITCH = "TF_ENABLE_ONEDNN_OPTS"


@pytest.mark.parametrize(("wanted", "said"), [(True, "1"), (False, "0")])
def test_it_is_set_for_the_time_of_a_call(
    monkeypatch: pytest.MonkeyPatch, wanted: bool, said: str
) -> None:
    seen = []

    @onednn(wanted)
    def fails() -> None:
        seen.append(os.environ[SWITCH])
        raise ZeroDivisionError

    monkeypatch.delenv(SWITCH, raising=False)
    with pytest.raises(ZeroDivisionError):
        fails()
    assert seen == [said]
    assert SWITCH not in os.environ


@pytest.mark.parametrize("wanted", [True, False])
def test_what_the_user_says_stays(monkeypatch: pytest.MonkeyPatch, wanted: bool) -> None:
    monkeypatch.setenv(SWITCH, "of the user")
    with onednn(wanted):
        assert os.environ[SWITCH] == "of the user"
    assert os.environ[SWITCH] == "of the user"
