"""The key ring comes from a setting or from a file, and what is wrong with it is said in words."""

from pathlib import Path

import pytest
from pydantic import SecretStr

from runtime import keys
from runtime.settings import ConfigurationError, Settings
from tests.support.sealing import NEW, OLD


def told(inline: str | None = None) -> Settings:
    secret = None if inline is None else SecretStr(inline)
    return Settings.model_validate({"payload_keys": secret})


def test_the_first_key_of_the_setting_or_of_the_file_seals(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "keys"
    file.write_text(f"{NEW}\n{OLD}\n")
    monkeypatch.setenv("PAYLOAD_KEYS_FILE", str(file))

    assert keys.ring(told(f"{OLD},{NEW}")).current == "old"
    assert keys.ring(Settings()).current == "new"


def test_without_keys_nothing_is_sealed_and_production_is_told_what_is_missing() -> None:
    assert keys.ring(told()).current is None
    missing = keys.missing(told())
    assert missing is not None
    assert "set PAYLOAD_KEYS or PAYLOAD_KEYS_FILE" in missing
    assert keys.missing(told(OLD)) is None


def test_a_file_that_cannot_be_used_is_refused_as_for_every_setting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    empty, binary = tmp_path / "empty", tmp_path / "binary"
    empty.write_text("")
    binary.write_bytes(b"\xff\xfe")
    wrong = {
        "empty, which is empty": empty,
        "binary, which cannot be read": binary,
        "nowhere, which cannot be read": tmp_path / "nowhere",
    }
    for words, file in wrong.items():
        monkeypatch.setenv("PAYLOAD_KEYS_FILE", str(file))
        with pytest.raises(ConfigurationError, match=words):
            Settings()
    monkeypatch.setenv("PAYLOAD_KEYS", OLD)
    with pytest.raises(ConfigurationError, match="not both"):
        Settings()


def test_what_is_wrong_is_said_without_showing_a_key() -> None:
    wrong = {
        "PAYLOAD_KEYS: the key 'k' is not 32 bytes": told("k:c2hvcnQ="),
        "key 1 needs an id of its own": told(""),
    }
    for words, settings in wrong.items():
        with pytest.raises(ConfigurationError, match=words) as refused:
            keys.ring(settings)
        assert "c2hvcnQ" not in str(refused.value)
        assert OLD.partition(":")[2] not in repr(settings)
