"""`kafka-cy bench`: what a broker's and a client's settings cost, measured; for any broker that speaks Kafka's protocol.

results.py is the format that everything here writes and reads. The package is part of no broker: nothing of the server
imports it.
"""
