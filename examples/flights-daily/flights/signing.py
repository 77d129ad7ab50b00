"""Sign a report, so that who gets the file from somebody can tell that this pipeline wrote it.

With an HMAC (RFC 2104) over the text, without the line of the signature; who checks it needs the same key.
"""

import hashlib
import hmac
from pathlib import Path

from flights.errors import StepError


def sign(text: str, key: Path) -> str:
    """Return the signature of a text, `hmac-sha256:` and hexadecimal digits.

    Raises:
        StepError: the file with the key cannot be read, or is empty.
    """
    try:
        secret = key.read_bytes().strip()
    except OSError as error:
        raise StepError(
            f"the signing key {key} cannot be read ({error.strerror}): does the step name the secret?"
        ) from None
    if not secret:
        raise StepError(f"the signing key {key} is empty: write one to Vault")
    return f"hmac-sha256:{hmac.new(secret, text.encode(), hashlib.sha256).hexdigest()}"
