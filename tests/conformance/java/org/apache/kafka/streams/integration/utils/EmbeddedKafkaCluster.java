package org.apache.kafka.streams.integration.utils;

import conformance.BrokerProcess;
import conformance.ExternalCluster;
import org.apache.kafka.clients.admin.*;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.errors.InvalidReplicationFactorException;
import org.apache.kafka.common.errors.TopicExistsException;
import org.apache.kafka.common.errors.UnknownTopicOrPartitionException;
import org.apache.kafka.server.util.MockTime;
import org.apache.kafka.test.TestUtils;

import java.util.*;
import java.util.concurrent.ExecutionException;

/** Replaces the cluster of Kafka Streams' integration tests: always one external broker. */
public class EmbeddedKafkaCluster {
    private static final Map<String, String> DEFAULTS = Map.ofEntries(
        Map.entry("group.streams.min.session.timeout.ms", "100"), Map.entry("group.streams.min.heartbeat.interval.ms", "100"), Map.entry("group.min.session.timeout.ms", "0"),
        Map.entry("group.initial.rebalance.delay.ms", "0"), Map.entry("offsets.topic.num.partitions", "5"), Map.entry("offsets.topic.replication.factor", "1"),
        Map.entry("transaction.state.log.num.partitions", "5"), Map.entry("transaction.state.log.replication.factor", "1"), Map.entry("transaction.state.log.min.isr", "1"),
        Map.entry("auto.create.topics.enable", "true"), Map.entry("delete.topic.enable", "true"));

    public final MockTime time;
    private final int size;
    private final BrokerProcess broker;
    private final boolean ssl;

    public EmbeddedKafkaCluster(int brokers) {
        this(brokers, new Properties());
    }

    public EmbeddedKafkaCluster(int brokers, Properties config) {
        this(brokers, config, Map.of());
    }

    public EmbeddedKafkaCluster(int brokers, Properties config, long millis) {
        this(brokers, config, Map.of(), millis, System.nanoTime());
    }

    public EmbeddedKafkaCluster(int brokers, Properties config, Map<Integer, Map<String, String>> each) {
        this(brokers, config, each, System.currentTimeMillis(), System.nanoTime());
    }

    public EmbeddedKafkaCluster(int brokers, Properties config, Map<Integer, Map<String, String>> each, long millis, long nanos) {
        Map<String, String> p = new HashMap<>(DEFAULTS);
        config.forEach((k, v) -> p.put(k.toString(), v.toString()));
        p.putAll(each.getOrDefault(0, Map.of()));
        if (brokers > 1) p.replaceAll((k, v) -> k.endsWith("replication.factor") || k.endsWith("min.isr") || k.equals("min.insync.replicas") ? "1" : v);
        size = brokers;
        ssl = p.getOrDefault("listener.security.protocol.map", "").contains("SSL");
        time = new MockTime(millis, nanos);
        broker = ssl ? null : new BrokerProcess("EXTERNAL", "PLAINTEXT", p, 1, Map.of(), Map.of());
    }

    public void start() {
        if (ssl) throw ExternalCluster.abort("security protocol SSL");
        ExternalCluster.brokersAsked = 1;
        if (size > 1) ExternalCluster.several(size);
        broker.start();
    }

    public void verifyClusterReadiness() {
        // start() waits for it
    }

    public void stop() {
        if (broker != null) broker.stop();
    }

    public String bootstrapServers() {
        return broker.bootstrap();
    }

    public boolean sslEnabled() {
        return ssl;
    }

    public Admin createAdminClient() {
        return Admin.create(Map.of("bootstrap.servers", bootstrapServers()));
    }

    public void createTopics(String... topics) throws InterruptedException {
        for (String t : topics) createTopic(t, 1, 1, Map.of());
    }

    public void createTopic(String topic) {
        createTopic(topic, 1);
    }

    public void createTopic(String topic, int partitions) {
        createTopic(topic, partitions, 1, Map.of());
    }

    public void createTopic(String topic, int partitions, int replication) throws InterruptedException {
        createTopic(topic, partitions, replication, Map.of());
    }

    public void createTopic(String topic, int partitions, int replication, Map<String, String> config) {
        if (replication > size) throw new InvalidReplicationFactorException(replication + " replicas of " + size + " brokers");
        try (Admin admin = createAdminClient()) {
            admin.createTopics(List.of(new NewTopic(topic, partitions, (short) 1).configs(config))).all().get();
            TestUtils.waitForCondition(() -> admin.listTopics().names().get().contains(topic), "topic " + topic + " is not listed");
        } catch (Exception e) {
            if (!(e.getCause() instanceof TopicExistsException)) throw new RuntimeException(e);
        }
    }

    public void deleteTopics(String... topics) {
        for (String t : topics) deleteTopic(t);
    }

    public void deleteTopic(String topic) {
        delete(List.of(topic));
    }

    public void deleteAllTopics() {
        try (Admin admin = createAdminClient()) {
            delete(admin.listTopics().names().get());
        } catch (InterruptedException | ExecutionException e) {
            throw new RuntimeException(e);
        }
    }

    private void delete(Collection<String> topics) {
        try (Admin admin = createAdminClient()) {
            admin.deleteTopics(topics).all().get();
        } catch (InterruptedException | ExecutionException e) {
            if (!(e.getCause() instanceof UnknownTopicOrPartitionException)) throw new RuntimeException(e);
        }
    }

    public Set<String> getAllTopicsInCluster() {
        try (Admin admin = createAdminClient()) {
            return new HashSet<>(admin.listTopics(new ListTopicsOptions().listInternal(true)).names().get());
        } catch (InterruptedException | ExecutionException e) {
            throw new RuntimeException(e);
        }
    }

    public void waitForRemainingTopics(long timeoutMs, String... topics) throws InterruptedException {
        TestUtils.waitForCondition(() -> getAllTopicsInCluster().equals(Set.of(topics)), timeoutMs, "topics other than " + Arrays.toString(topics));
    }

    public Properties getLogConfig(String topic) {
        ConfigResource r = new ConfigResource(ConfigResource.Type.TOPIC, topic);
        try (Admin admin = createAdminClient()) {
            Properties p = new Properties();
            admin.describeConfigs(List.of(r)).all().get().get(r).entries().stream().filter(e -> e.value() != null).forEach(e -> p.put(e.name(), e.value()));
            return p;
        } catch (InterruptedException | ExecutionException e) {
            throw new RuntimeException(e);
        }
    }

    public void setGroupSessionTimeout(String group, int ms) {
        group(group, "streams.session.timeout.ms", ms);
    }

    public void setGroupHeartbeatTimeout(String group, int ms) {
        group(group, "streams.heartbeat.interval.ms", ms);
    }

    public void setGroupStandbyReplicas(String group, int replicas) {
        group(group, "streams.num.standby.replicas", replicas);
    }

    public void setGroupStreamsInitialRebalanceDelay(String group, int ms) {
        group(group, "streams.initial.rebalance.delay.ms", ms);
    }

    private void group(String group, String key, int value) {
        try (Admin admin = createAdminClient()) {
            admin.incrementalAlterConfigs(Map.of(new ConfigResource(ConfigResource.Type.GROUP, group),
                List.of(new AlterConfigOp(new ConfigEntry(key, String.valueOf(value)), AlterConfigOp.OpType.SET)))).all().get();
        } catch (InterruptedException | ExecutionException e) {
            throw new RuntimeException(e);
        }
    }
}
