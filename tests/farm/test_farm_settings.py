"""Settings of a job are checked when they are made, and come back from JSON as they were."""

from __future__ import annotations

import pytest

from tailrace import JobSettings, SpecError


def test_settings_come_back_from_json_and_leave_out_what_is_usual() -> None:
    settings = JobSettings(retries=2, error_patterns=(("scene", "broken"),), max_running=3, mask_env=("TOKEN",))
    assert JobSettings.model_validate_json(settings.to_json()) == settings
    assert settings.to_json() == (
        '{"maxRunning":3,"retries":2,"errorPatterns":[["scene","broken"]],"maskEnv":["TOKEN"]}'
    )
    assert JobSettings().to_json() == "{}"


def test_logs_may_be_limited() -> None:
    assert JobSettings(log_limit=1 << 20, log_compress=True).log_limit == 1 << 20


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"retries": -1}, "retries"),
        ({"timeout": 0}, "timeout"),
        ({"fail_fast": True, "fail_after": 2}, "fail_after"),
        ({"audio": "a.wav"}, "outputFile"),
        ({"chunk_order": "random"}, "chunk_order"),
        ({"on_end": "sh -c 'unclosed"}, "onEnd"),
        ({"unknown": 1}, "JobSettings: unknown: there is no such field$"),
        ({"retires": 2}, "JobSettings: retires: there is no such field: perhaps retries is meant"),
        ({"progress": "no such renderer"}, "no such renderer"),
    ],
)
def test_what_cannot_be_used_is_refused(fields: dict[str, object], reason: str) -> None:
    with pytest.raises(SpecError, match=reason):
        JobSettings(**fields)  # type: ignore[arg-type]
