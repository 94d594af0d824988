"""`bench compare --cluster`: three kafka-cy brokers and three of Apache Kafka 3.9, with the same ZooKeeper."""
