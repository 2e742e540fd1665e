"""Writes the sample files in conf/ from the settings in the code: `make conf`."""

from pathlib import Path

from shoal_agent.settings import AgentSettings
from shoal_client.settings import ClientSettings
from shoal_common.settings import sample
from shoal_server.settings import ServerSettings

CONF = Path(__file__).parent.parent / "conf"

_HOW = (
    "Every key is shown with its default; a key that is left out keeps its default. A flag wins over the "
    "environment variable, the variable over this file."
)


def samples() -> dict[Path, str]:
    """Each sample file and the text that belongs in it."""
    return {
        CONF / "shoal_server.conf": sample(ServerSettings, f"Settings of shoal-server. {_HOW}"),
        CONF / "shoal_agent.conf": sample(
            AgentSettings, f"Settings of shoal-agent. Nothing but [amqp] url needs to be set. {_HOW}"
        ),
        CONF / "shoal_client.conf": sample(
            ClientSettings, f"Settings of shoal-client. Nothing but [general] servers needs to be set. {_HOW}"
        ),
    }


if __name__ == "__main__":
    for path, text in samples().items():
        path.write_text(text, encoding="utf-8")
