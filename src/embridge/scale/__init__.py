"""Work on more than one processor: shards, done by one function in this process, in a pool of processes, or on Ray."""

from embridge.scale.engine import Engine, SerialEngine
from embridge.scale.engines import EngineSettings, open_engine

__all__ = ["Engine", "EngineSettings", "SerialEngine", "open_engine"]
