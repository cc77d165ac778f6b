"""An organization on GitHub, kept in a file: changes are on disk before the request is answered."""

import secrets
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from sandbox.emulator import State, read_state, sha256
from sandbox.github.models import (
    ROLES,
    BypassActor,
    GitHubData,
    Level,
    Repository,
    Role,
    Ruleset,
    Team,
    Token,
    User,
    Vault,
)
from sandbox.github.sealing import new_private_key

OWNER = "sandbox"
"""The organization, and the login of its first owner, who has the repositories' own Git tokens."""

_FIRST_ID = 1000
_ROLE_IDS: Mapping[int, Role] = {2: "maintain", 4: "write", 5: "admin"}
"""The roles by their IDs in a ruleset's bypass list."""
_PASSED = ("success", "neutral", "skipped")
"""Conclusions that are enough for a required check."""


def now() -> datetime:
    """The current time, in whole seconds as on GitHub."""
    return datetime.now(UTC).replace(microsecond=0)


def new_vault() -> Vault:
    return Vault(private_key=new_private_key())


class GitHubState(State[GitHubData]):
    """The organization's users, teams, tokens and repositories."""

    @classmethod
    def load(cls, path: Path) -> "GitHubState":
        """The organization in the file `path`; a new one if the file does not exist.

        Raises StateUnreadable if the file can't be used.
        """
        data = read_state(path, GitHubData)
        if data is not None:
            return cls(path, data)
        state = cls(path, GitHubData(owner_id=_FIRST_ID, next_id=_FIRST_ID + 1))
        state.add_user(OWNER, "admin")
        return state

    def new_id(self) -> int:
        """A unique ID. It is saved with the change that uses it."""
        self.data.next_id += 1
        return self.data.next_id - 1

    def repository(self, name: str) -> Repository:
        """The record of the Git repository of that name, created if it does not exist."""
        if name not in self.data.repositories:
            with self.changing() as data:
                data.repositories[name] = Repository(id=self.new_id(), name=name, vault=new_vault())
        return self.data.repositories[name]

    # Users and teams

    def add_user(self, login: str, role: Role) -> User:
        """Create the user, or change the user's role."""
        user = self.user(login)
        with self.changing() as data:
            if user is None:
                user = User(id=self.new_id(), login=login, role=role)
                data.users.append(user)
            user.role = role
        return user

    def user(self, login: str) -> User | None:
        return next((user for user in self.data.users if user.login == login), None)

    def add_team(self, slug: str, members: Sequence[str]) -> Team:
        """Create the team, or change its members."""
        team = self.team(slug)
        with self.changing() as data:
            if team is None:
                team = Team(id=self.new_id(), slug=slug)
                data.teams.append(team)
            team.members = list(members)
        return team

    def team(self, slug: str) -> Team | None:
        return next((team for team in self.data.teams if team.slug == slug), None)

    # Tokens

    def add_token(self, login: str, permissions: Mapping[str, Level]) -> str:
        """Create and return a fine-grained token of a user, of which only the hash is kept."""
        token = f"github_pat_{secrets.token_hex(32)}"
        with self.changing() as data:
            data.tokens.append(
                Token(login=login, sha256=sha256(token), permissions=dict(permissions))
            )
        return token

    def find_token(self, token: str) -> Token | None:
        digest = sha256(token)
        return next((record for record in self.data.tokens if record.sha256 == digest), None)

    # Rulesets

    def passed_checks(self, repository: Repository, commit: str) -> list[str]:
        """The checks whose latest status of the commit is success, and the latest runs that did
        not fail."""
        latest = {
            status.context: status.state
            for status in repository.statuses
            if status.commit == commit
        }
        runs = {run.name: run.conclusion for run in repository.check_runs if run.commit == commit}
        return [
            *(context for context, state in latest.items() if state == "success"),
            *(name for name, conclusion in runs.items() if conclusion in _PASSED),
        ]

    def may_bypass(self, ruleset: Ruleset, login: str, modes: set[str]) -> bool:
        """Whether the user may bypass the ruleset, with one of these bypass modes."""
        return any(
            actor.bypass_mode in modes and self._includes(actor, login)
            for actor in ruleset.bypass_actors
        )

    def _includes(self, actor: BypassActor, login: str) -> bool:
        user = self.user(login)
        if user is None:
            return False
        match actor.actor_type:
            case "User":
                return actor.actor_id == user.id
            case "Team":
                return any(
                    team.id == actor.actor_id and login in team.members for team in self.data.teams
                )
            case "OrganizationAdmin":
                return user.role == "admin"
            case "RepositoryRole":
                role = _ROLE_IDS.get(actor.actor_id or 0)
                return role is not None and ROLES.index(user.role) >= ROLES.index(role)
            case _:
                # Deploy keys (which push over SSH) and Apps are not emulated.
                return False
