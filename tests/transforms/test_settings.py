"""TeamSettings: what a team may decide, and what it is told when it cannot."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dealmail.transforms.settings import KINDS, TeamSettings


def test_no_setting_means_the_defaults():
    assert TeamSettings.from_json({}) == TeamSettings()
    assert TeamSettings().to_json() == {}


@given(
    st.builds(
        TeamSettings,
        on_trash=st.sampled_from(["keep", "remove"]),
        on_delete=st.sampled_from(["keep", "remove"]),
        on_opt_out=st.sampled_from(["keep", "erase"]),
        retention_days=st.none() | st.integers(1, 9999),
        rules=st.sampled_from(["", "2026.1"]),
        automated_threshold=st.none() | st.floats(-9, 9),
        signals_off=st.frozensets(st.text(max_size=5), max_size=3),
        keep_kinds=st.frozensets(st.sampled_from(KINDS)),
    )
)
def test_settings_survive_their_json(settings):
    assert TeamSettings.from_json(settings.to_json()) == settings


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"on_trash": "burn"}, "on_trash='burn': use one of keep, remove"),
        ({"retention_days": 0}, "retention_days=0"),
        ({"retention_days": "soon"}, "retention_days='soon'"),
        ({"retention_days": 999_999_999}, "from 1 to 36500"),
        ({"automated_threshold": float("nan")}, "automated_threshold=nan"),
        ({"automated_threshold": "high"}, "automated_threshold='high'"),
        ({"keep_kinds": ["spam"]}, "'spam': use some of bounce"),
        ({"colour": 1}, "unknown setting 'colour'"),
        ({"retention_days": True}, "retention_days=True"),
        ({"automated_threshold": False}, "automated_threshold=False"),
        ({"signals_off": "copied"}, "signals_off='copied': use a list"),
        ({"signals_off": [1]}, "use a list of names"),
        ({"keep_kinds": 5}, "keep_kinds=5: use a list"),
        ({"keep_kinds": [["reply"]]}, "use a list of names"),
        ({"rules": 2026.1}, "rules=2026.1: use the version"),
        ({"on_trash": ["keep"]}, "use one of keep, remove"),
    ],
)
def test_a_bad_value_is_shown_with_the_way_out(values, told):
    with pytest.raises(ValueError, match=told):
        TeamSettings.from_json(values)
