"""The assignors of `group.consumer.assignors`."""
