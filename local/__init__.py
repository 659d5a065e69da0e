"""The embedded stack of the demo and the tests: real servers on this machine; never deployed."""
