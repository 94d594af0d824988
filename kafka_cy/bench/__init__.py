"""`kafka-cy bench`: measures the cost of broker and client settings, for any broker that speaks Kafka's protocol.

results.py is the format that everything here writes and reads. The server does not import this package.
"""
