"""Amazon ECR: https://docs.aws.amazon.com/AmazonECR/latest/userguide/registry_auth.html.

What is stored is an access key; what the registry takes is a token that ends after twelve hours.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, TypeVar

from pipelines.registries.kinds.port import Account, Kind, KindError, Pass
from pipelines.registries.logins import Login

T = TypeVar("T")

_HOST = re.compile(
    r"(?P<account>\d{12})\.dkr[.-]ecr(?:-fips)?\.(?P<region>[a-z0-9-]+)\."
    r"(?:amazonaws\.com(?:\.cn)?|on\.aws|on\.amazonwebservices\.com\.cn)",
    re.ASCII,
)
_SECONDS = 5


class ECR(Kind):
    """Tokens from the AWS API; repositories must be made before the first push."""

    name = "ecr"
    title = "Amazon ECR"
    login_is = (
        "an access key's id as the user and its secret as the password; or neither, where this "
        "machine has a role of its own"
    )

    def is_at(self, host: str) -> bool:
        """`123456789012.dkr.ecr.eu-central-1.amazonaws.com`, and its like elsewhere."""
        return _HOST.fullmatch(host) is not None

    def fault(self, account: Account) -> str | None:
        """Both halves of a key, or none."""
        if not self.is_at(account.host):
            return (
                "the host of an Amazon ECR registry is "
                "`<account>.dkr.ecr.<region>.amazonaws.com`: give that"
            )
        if account.username == "AWS":
            return f"that is the token itself, which ends after 12 hours: give {self.login_is}"
        if bool(account.username) != bool(account.password):
            return f"give {self.login_is}"
        return None

    def enter(self, account: Account) -> Pass:
        """A token, good for twelve hours."""
        answer = self._ask(account, "give a token", lambda api: api.get_authorization_token())
        told = answer["authorizationData"][0]
        try:
            username, _, password = (
                base64.b64decode(told["authorizationToken"]).decode().partition(":")
            )
        except ValueError as error:
            raise KindError(f"{account.host}: AWS gave a token that is none") from error
        until: datetime = told["expiresAt"]
        return Pass(login=Login(username=username, password=password), until=until.astimezone(UTC))

    def make(self, account: Account, path: str) -> bool:
        """Make a repository; that somebody else did so meanwhile is as well."""
        from botocore.exceptions import ClientError

        def create(api: Any) -> bool:  # noqa: ANN401 - boto3 makes its classes as it runs
            try:
                api.create_repository(repositoryName=path)
            except ClientError as error:
                if error.response["Error"]["Code"] != "RepositoryAlreadyExistsException":
                    raise
            return True

        return self._ask(account, f"make the repository {path}", create)

    def _ask(self, account: Account, what: str, question: Callable[[Any], T]) -> T:
        """The answer of the ECR API of the registry's region and account."""
        import boto3
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError, ClientError

        place = _HOST.fullmatch(account.host)
        if place is None:
            raise KindError(f"{account.host} is no host of Amazon ECR")
        session = boto3.session.Session(
            aws_access_key_id=account.username or None,
            aws_secret_access_key=account.password or None,
            region_name=place["region"],
        )
        limits = Config(
            connect_timeout=_SECONDS, read_timeout=_SECONDS, retries={"max_attempts": 1}
        )
        try:
            return question(session.client("ecr", config=limits))
        except (BotoCoreError, ClientError) as error:
            raise KindError(
                f"registry {account.host}: AWS did not {what} ({error}): check the access key, and "
                "that its user may do so (`ecr:GetAuthorizationToken`, `ecr:CreateRepository`, and "
                "what pushing needs)"
            ) from error


KIND = ECR()
