"""A local stand-in for OpenAI's speech routes, for the demo and the tests; never deployed.

It answers in OpenAI's shapes, speaks for real (SVOX Pico, or espeak-ng where that is
missing), keeps a real rate limit, logs what a provider would have charged, and commits
every fault of `faults.FAULTS` on demand. Run it with `python -m local.speech`, or:

    with SpeechServer(latency_s=0.2) as server:
        client = OpenAI(base_url=server.base_url, api_key="any")
"""

from local.speech.desk import Settings
from local.speech.faults import FAULTS, Fault
from local.speech.ledger import Charge, Seen
from local.speech.server import SpeechServer

__all__ = ["FAULTS", "Charge", "Fault", "Seen", "Settings", "SpeechServer"]
