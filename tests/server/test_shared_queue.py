"""The queue that several servers share, where the operator has made it himself."""

import uuid

import pytest

from testbed.rabbitmq import RabbitMQ
from tests.server.test_intake_contract import Server, beats, rabbitmq_door


@pytest.mark.parametrize("kind", ["quorum", "classic"])
def test_a_queue_that_exists_in_another_form_is_taken_as_it_is(rabbitmq: RabbitMQ, kind: str) -> None:
    rabbitmq.start().resume()
    queue, server = f"shared-{uuid.uuid4().hex}", Server.new()
    door = rabbitmq_door(rabbitmq, queue=queue)
    with door.channel() as channel:
        channel.queue_declare(queue, durable=True, arguments={"x-queue-type": kind})
        with door.serving(server):
            door.publish(*beats(3))
            server.lists(3)
        channel.queue_delete(queue)
