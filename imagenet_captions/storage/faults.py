"""What a store of objects answers when it does not do what it is asked, in one sentence and without its secrets."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from imagenet_captions.errors import InputError

# Errors of the packages behind fsspec that are no OSError; looked up only in what has been imported.
_FOREIGN = (
    ("asyncio", "TimeoutError"),  # an OSError only from Python 3.11 on
    ("botocore.exceptions", "BotoCoreError"),
    ("botocore.exceptions", "ClientError"),
    ("aiohttp", "ClientError"),
    ("google.auth.exceptions", "GoogleAuthError"),
    ("azure.core.exceptions", "AzureError"),
    ("huggingface_hub.errors", "HfHubHTTPError"),
    ("huggingface_hub.errors", "OfflineModeIsEnabled"),
    ("httpx", "HTTPError"),
    ("httpx2", "HTTPError"),  # which huggingface_hub 2 uses
)
_CODE = re.compile(r"[A-Za-z0-9.]{1,40}")


class MissingObject(InputError, FileNotFoundError):
    """Nothing is there, told in a sentence to a user, and in their own way to those who look for files."""

    def __init__(self, url: str) -> None:
        super().__init__(f"{url} does not exist, or its bucket does not; check the URL")
        self._url = url

    def __reduce__(self) -> tuple[type[MissingObject], tuple[str]]:
        return type(self), (self._url,)


@contextmanager
def in_words(url: str) -> Iterator[None]:
    """Turn whatever fsspec and the packages behind it raise about `url` into an InputError.

    Their own texts are left out: nobody knows what they quote.
    """
    try:
        yield
    except FileNotFoundError:
        raise MissingObject(url) from None
    except PermissionError as error:
        raise InputError(
            f"access to {url} is denied{_code(error)}; check the credentials that fsspec finds for it, in the "
            "environment or its configuration, and what they allow"
        ) from None
    except NotImplementedError:
        raise InputError(f"{url} is of a kind that cannot be written to, or not so; give another place") from None
    except _faults() as error:
        if "Credentials" in type(error).__name__:
            raise InputError(
                f"there are no credentials for {url}; set them as fsspec takes them, in the environment or its "
                "configuration"
            ) from None
        raise InputError(
            f"{url} cannot be used: {type(error).__name__}{_code(error)}; check the network, the endpoint, the "
            "bucket's name and the credentials, and run the same command again"
        ) from None


def _faults() -> tuple[type[BaseException], ...]:
    foreign = [getattr(sys.modules[module], name) for module, name in _FOREIGN if module in sys.modules]
    return (OSError, ValueError, *foreign)


def _code(error: BaseException) -> str:
    """The code of an S3 answer, such as SlowDown, which a package quotes in the cause of its error."""
    response = getattr(error.__cause__ or error, "response", None)
    code = response.get("Error", {}).get("Code") if isinstance(response, dict) else None
    return f" ({code})" if isinstance(code, str) and _CODE.fullmatch(code) else ""
