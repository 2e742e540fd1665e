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
)

TROUBLE = (AMQPError, AMQPConnectorException, OSError)
"""Everything that a call of pika raises for what the network or the broker does."""

_MEANINGS: tuple[tuple[type[Exception], str], ...] = (
    (ProbableAuthenticationError, "refuses the user or the password"),
    (ProbableAccessDeniedError, "has no such virtual host, or does not let this user in"),
    (IncompatibleProtocolError, "does not speak AMQP 0-9-1 here (is this its TLS port?)"),
    (ConnectionBlockedTimeout, "takes no messages now: it is short of memory or disk"),
    (AMQPHeartbeatTimeout, "has fallen silent"),
    (StreamLostError, "dropped the connection"),
    (NackError, "could not take the message"),
    (AMQPConnectorException, "takes the connection but does not answer"),
    (TimeoutError, "does not answer"),
    (ConnectionRefusedError, "refuses the connection"),
    (ssl.SSLCertVerificationError, "shows a certificate that is not trusted"),
    (ssl.SSLError, "does not speak TLS as we do"),
)


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
    meaning = next((text for kind, text in _MEANINGS if isinstance(error, kind)), None)
    if isinstance(error, ssl.SSLError):
        return f"{meaning}: {error.reason or error}"
    return meaning or f"cannot be used: {error or type(error).__name__}"[:200]
