"""Signatures of requests: TC3-HMAC-SHA256 (Tencent Cloud) and ACS3-HMAC-SHA256 (Alibaba Cloud's signature V3).

Sources:
    https://www.tencentcloud.com/document/api/1005/34678
    https://www.alibabacloud.com/help/en/sdk/product-overview/v3-request-structure-and-signature

Both sign a canonical request of method, path, query, headers and a hash of the body. Tencent derives a key of the day
and the service; Alibaba signs with the secret itself.
"""

import hashlib
import hmac
from collections.abc import Mapping
from datetime import UTC, datetime
from urllib.parse import quote

from evaluation.services.credentials import KeyPair

TC3, ACS3 = "TC3-HMAC-SHA256", "ACS3-HMAC-SHA256"


def tc3_authorization(keys: KeyPair, service: str, headers: Mapping[str, str], body: bytes, timestamp: int) -> str:
    """The `Authorization` of a POST to `/`.

    Args:
        service: first part of the service's host name, such as `iai`.
        headers: those to sign, by their names in lower case; `content-type` and `host` must be among them.
        timestamp: seconds since 1970, as in `X-TC-Timestamp`.
    """
    day = datetime.fromtimestamp(timestamp, UTC).date().isoformat()
    scope = f"{day}/{service}/tc3_request"
    values = {name: value.lower() for name, value in headers.items()}
    to_sign = f"{TC3}\n{timestamp}\n{scope}\n{_sha256(_canonical('', values, _sha256(body)).encode())}"
    key = f"TC3{keys.secret.get_secret_value()}".encode()
    for part in (day, service, "tc3_request"):
        key = _hmac(key, part)
    signature = _hmac(key, to_sign).hex()
    return f"{TC3} Credential={keys.id}/{scope}, SignedHeaders={_names(headers)}, Signature={signature}"


def acs3_authorization(keys: KeyPair, query: Mapping[str, str], headers: Mapping[str, str], body: bytes) -> str:
    """The `Authorization` of a POST to `/`.

    Args:
        headers: those to sign, by their names in lower case: `host`, `content-type` where there is one, and every
            `x-acs-...`, `x-acs-content-sha256` among them.
    """
    sorted_query = "&".join(f"{quote(name, safe='~')}={quote(query[name], safe='~')}" for name in sorted(query))
    to_sign = f"{ACS3}\n{_sha256(_canonical(sorted_query, headers, _sha256(body)).encode())}"
    signature = _hmac(keys.secret.get_secret_value().encode(), to_sign).hex()
    return f"{ACS3} Credential={keys.id},SignedHeaders={_names(headers)},Signature={signature}"


def _canonical(query: str, headers: Mapping[str, str], digest: str) -> str:
    lines = "".join(f"{name}:{headers[name].strip()}\n" for name in sorted(headers))
    return "\n".join(("POST", "/", query, lines, _names(headers), digest))


def _names(headers: Mapping[str, str]) -> str:
    return ";".join(sorted(headers))


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _hmac(key: bytes, text: str) -> bytes:
    return hmac.new(key, text.encode(), hashlib.sha256).digest()
