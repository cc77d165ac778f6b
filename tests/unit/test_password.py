"""Argo CD's admin password."""

import bcrypt

from components.password import password_hash
from tests.unit.mocked import refused


def test_hash_matches_only_its_password() -> None:
    hashed = password_hash("correct horse", "doks-gitops/dev")
    assert bcrypt.checkpw(b"correct horse", hashed.encode())
    assert not bcrypt.checkpw(b"wrong horse", hashed.encode())


def test_hash_is_the_same_in_every_run() -> None:
    assert password_hash("secret", "doks-gitops/dev") == password_hash("secret", "doks-gitops/dev")


def test_equal_passwords_of_two_stacks_have_different_hashes() -> None:
    assert password_hash("secret", "doks-gitops/dev") != password_hash("secret", "doks-gitops/prod")


def test_password_that_bcrypt_would_truncate_is_refused() -> None:
    with refused("73 bytes", "1 to 72"):
        password_hash("x" * 73, "doks-gitops/dev")
    with refused("0 bytes"):
        password_hash("", "doks-gitops/dev")
