"""The embedded intake: an AMQP 0-9-1 listener inside the server, for sites that run no broker.

It takes what publishers of heartbeats send (connection, channel, exchange declare, publish, confirms)
and hands the bodies to the reception. It is no broker: no queues, no durability, no cluster; where one of
these is wanted, RabbitMQ is the intake to use.

From the socket inwards: `listener` accepts, `peer` moves one connection's bytes, `session` and `channel`
speak the protocol on the frames that `framing` cuts, `pump` stores what came, batch by batch.
"""

from shoal_server.intake.embedded.listener import EmbeddedIntake
from shoal_server.intake.embedded.terms import Credentials, Limits

__all__ = ["Credentials", "EmbeddedIntake", "Limits"]
