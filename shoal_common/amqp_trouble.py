"""What can go wrong between us and a broker, and how it is told to an operator in one line.

pika raises its own errors, raw OSErrors (TLS and name resolution among them) and, for a broker that
takes the connection and then keeps silent, an error of its connection workflow that is neither.
"""

import ssl

from pika.adapters.utils.connection_workflow import AMQPConnectorException
from pika.exceptions import (
    AMQPConnectionError,
    AMQPError,
    AMQPHeartbeatTimeout,
    ChannelClosed,
    ConnectionBlockedTimeout,
    ConnectionClosed,
    IncompatibleProtocolError,
    NackError,
    ProbableAccessDeniedError,
    ProbableAuthenticationError,
    StreamLostError,
    UnroutableError,
)

TROUBLE = (AMQPError, AMQPConnectorException, OSError)
"""Everything that a call of pika raises for what the network or the broker does."""

_MEANINGS: tuple[tuple[type[Exception], str], ...] = (
    (ProbableAuthenticationError, "refuses the user or the password"),
    (ProbableAccessDeniedError, "has no such virtual host, or does not let this user in"),
    (
        IncompatibleProtocolError,
        "does not speak AMQP 0-9-1 with us (is this its TLS port, or does it demand a certificate?)",
    ),
    (ConnectionBlockedTimeout, "takes no messages now: it is short of memory or disk"),
    (AMQPHeartbeatTimeout, "has fallen silent"),
    (StreamLostError, "dropped the connection"),
    (NackError, "could not take the message"),
    (UnroutableError, "is well, and no Shoal server listens there"),
    (AMQPConnectorException, "takes the connection but does not answer"),
    (TimeoutError, "does not answer"),
    (ConnectionRefusedError, "refuses the connection"),
    (ConnectionError, "dropped the connection"),
    (ssl.SSLEOFError, "dropped the connection"),
    (ssl.SSLError, "does not speak TLS as we do"),
)

_ALERTS = {
    "CERTIFICATE_REQUIRED": "demands a certificate of us",
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": "shows no certificate",
    "ALERT_UNKNOWN_CA": "does not trust the authority of our certificate",
    "ALERT_CERTIFICATE_EXPIRED": "does not take our certificate: it has expired",
    "ALERT_CERTIFICATE_REVOKED": "does not take our certificate: it is revoked",
    "ALERT_BAD_CERTIFICATE": "does not take our certificate",
    "ALERT_CERTIFICATE_UNKNOWN": "does not take our certificate",
    "ALERT_UNSUPPORTED_CERTIFICATE": "does not take our certificate",
    "WRONG_VERSION_NUMBER": "does not speak TLS here",
}
"""What OpenSSL calls them (RFC 8446 §6.2). In TLS 1.3 a client hears of its own certificate only after
the handshake, where pika hides the alert in the text of another error."""


def explain(error: BaseException) -> str:
    """What `error` says of the broker, as the rest of a sentence that begins with its name."""
    if isinstance(error, AMQPConnectionError) and error.args:
        cause = getattr(error.args[0], "exception", None)
        if isinstance(cause, Exception):
            return explain(cause)
    if isinstance(error, ChannelClosed) and error.reply_code == 404:
        return f"has no such exchange, which a Shoal server declares: {error.reply_text}"
    if isinstance(error, ChannelClosed | ConnectionClosed):
        return f"closed the connection: {error.reply_code} {error.reply_text}"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"shows a certificate that is not trusted: {error.verify_message.rstrip('.')}"
    meaning = _alert(error) or next((text for kind, text in _MEANINGS if isinstance(error, kind)), None)
    return meaning or f"cannot be used: {error or type(error).__name__}"[:200]


def _alert(error: BaseException) -> str | None:
    if not isinstance(error, ssl.SSLError | IncompatibleProtocolError | StreamLostError):
        return None
    told = str(error)
    return next((meaning for name, meaning in _ALERTS.items() if name in told), None)
