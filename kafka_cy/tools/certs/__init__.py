"""`kafka-cy certs`: an authority, and certificates of brokers and clients in the formats that Kafka reads."""
