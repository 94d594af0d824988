"""SASL on the side of the server: the mechanisms, and what a listener offers.

Nothing here has a thread, a socket of a client or a lock. `server` is the interface; `listener` reads the configuration.
"""
