"""`kafka-cy cluster start`: ZooKeeper and several brokers on one machine."""
