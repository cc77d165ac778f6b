"""One organization on GitHub, kept in a file: every change is on disk before it is acknowledged."""

import hashlib
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from pydantic import ValidationError

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
from sandbox.paths import write_private

OWNER = "sandbox"
"""The organization, and the login of its first owner: who holds a repository's own Git token."""

_FIRST_ID = 1000
_ROLE_IDS: Mapping[int, Role] = {2: "maintain", 4: "write", 5: "admin"}
"""GitHub's numbers for its roles, in a ruleset's bypass list."""


class StateUnreadable(Exception):
    """The state file can't be used; says which file, why, and what to do."""


def now() -> datetime:
    """GitHub's times have no fractions of seconds."""
    return datetime.now(UTC).replace(microsecond=0)


def new_vault() -> Vault:
    return Vault(private_key=new_private_key())


class GitHubState:
    """The organization's data with the rules that hold for all of it.

    Not thread-safe: all use is from the event loop that serves the API.
    """

    def __init__(self, path: Path, data: GitHubData) -> None:
        self.data = data
        self._path = path

    @classmethod
    def load(cls, path: Path) -> "GitHubState":
        """The organization kept in `path`; a new one if there is no such file.

        Raises StateUnreadable if the file is not one that this version wrote.
        """
        try:
            return cls(path, GitHubData.model_validate_json(path.read_bytes()))
        except FileNotFoundError:
            new = cls(path, GitHubData(owner_id=_FIRST_ID, next_id=_FIRST_ID + 1))
            new.add_user(OWNER, "admin")
            return new
        except ValidationError as error:
            raise StateUnreadable(
                f"{path} is not the state of an organization on GitHub: {error}\n"
                "Run `bin/sandbox reset` to start with an empty one."
            ) from error

    @contextmanager
    def changing(self) -> Iterator[GitHubData]:
        """Change the data inside; it is on disk when the block has ended without an exception.

        Check everything before the first change: a block that raises does not undo what it did.
        """
        yield self.data
        write_private(self._path, self.data.model_dump_json(indent=1).encode())

    def new_id(self) -> int:
        """A number that nothing else has; kept by the change that it is for."""
        self.data.next_id += 1
        return self.data.next_id - 1

    def repository(self, name: str) -> Repository:
        """What belongs to the Git repository of that name."""
        if name not in self.data.repositories:
            with self.changing() as data:
                data.repositories[name] = Repository(id=self.new_id(), name=name, vault=new_vault())
        return self.data.repositories[name]

    # People

    def add_user(self, login: str, role: Role) -> User:
        """The user of that login, with that role from now on."""
        user = self.user(login)
        with self.changing() as data:
            if user is None:
                user = User(id=self.new_id(), login=login, role=role)
                data.users.append(user)
            user.role = role
        return user

    def user(self, login: str) -> User | None:
        return next((each for each in self.data.users if each.login == login), None)

    def add_team(self, slug: str, members: Sequence[str]) -> Team:
        """The team of that name, with those members from now on."""
        team = self.team(slug)
        with self.changing() as data:
            if team is None:
                team = Team(id=self.new_id(), slug=slug)
                data.teams.append(team)
            team.members = list(members)
        return team

    def team(self, slug: str) -> Team | None:
        return next((each for each in self.data.teams if each.slug == slug), None)

    # Tokens

    def add_token(self, login: str, permissions: Mapping[str, Level]) -> str:
        """Make a fine-grained token of a user, which is returned here and never again."""
        token = f"github_pat_{secrets.token_hex(32)}"
        with self.changing() as data:
            data.tokens.append(
                Token(login=login, sha256=_sha256(token), permissions=dict(permissions))
            )
        return token

    def find_token(self, token: str) -> Token | None:
        digest = _sha256(token)
        return next((each for each in self.data.tokens if each.sha256 == digest), None)

    # Rulesets

    def passed(self, repository: Repository, commit: str) -> list[str]:
        """The checks whose latest word on the commit is success."""
        latest = {each.context: each.state for each in repository.statuses if each.commit == commit}
        return [context for context, state in latest.items() if state == "success"]

    def bypasses(self, ruleset: Ruleset, login: str, modes: set[str]) -> bool:
        """Whether the user may break the ruleset, in one of these ways of bypassing."""
        return any(
            each.bypass_mode in modes and self._is(each, login) for each in ruleset.bypass_actors
        )

    def _is(self, actor: BypassActor, login: str) -> bool:
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
                # Deploy keys push over SSH, and Apps with tokens of their own: neither is emulated.
                return False


def _sha256(token: str) -> str:
    # Tokens are random and long, so a fast hash without salt is as safe as a slow one.
    return hashlib.sha256(token.encode()).hexdigest()
