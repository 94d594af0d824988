package conformance;

import kafka.network.SocketServer;
import kafka.server.KafkaApis;
import kafka.server.KafkaBroker;
import kafka.server.KafkaConfig;
import org.apache.kafka.clients.admin.TopicDescription;
import org.apache.kafka.common.KafkaException;
import org.apache.kafka.common.Node;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.TopicPartitionInfo;
import org.apache.kafka.common.errors.UnknownTopicOrPartitionException;
import org.apache.kafka.common.network.ListenerName;
import org.apache.kafka.common.security.scram.internals.ScramMechanism;
import org.apache.kafka.common.security.token.delegation.internals.DelegationTokenCache;
import org.apache.kafka.coordinator.group.GroupCoordinator;
import org.apache.kafka.metadata.BrokerState;
import org.apache.kafka.metadata.LeaderAndIsr;
import org.apache.kafka.metadata.MetadataCache;
import scala.Option;

import java.lang.reflect.Field;
import java.lang.reflect.InvocationHandler;
import java.lang.reflect.Method;
import java.lang.reflect.Proxy;
import java.util.*;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;

/**
 * What tests take for the broker's object. The few things a client can learn or a user can do (configuration, port, stop, start, metadata)
 * are answered; all else ends the test as skipped.
 */
final class BrokerHandle {
    final KafkaBroker broker;
    private final BrokerProcess process;
    private final KafkaConfig config;
    private final MetadataCache metadata;
    private final GroupCoordinator groups;
    private final SocketServer sockets;

    /** @param given the configuration to show; null: made from the broker's own. */
    BrokerHandle(BrokerProcess process, KafkaConfig given) {
        this.process = process;
        Map<String, String> p = new HashMap<>(process.properties);
        p.put("process.roles", "broker");
        p.put("controller.listener.names", "CONTROLLER");
        p.put("controller.quorum.bootstrap.servers", "localhost:1");
        p.merge("listener.security.protocol.map", "CONTROLLER:PLAINTEXT", (a, b) -> a + "," + b);
        KafkaConfig parsed = given;
        try {
            if (parsed == null) parsed = new KafkaConfig(p, false);
        } catch (RuntimeException e) {
            // a configuration that only the broker itself may judge
        }
        config = parsed;
        broker = proxy(KafkaBroker.class, this::onBroker);
        metadata = proxy(MetadataCache.class, this::onMetadata);
        groups = proxy(GroupCoordinator.class, (self, m, a) -> {
            if (!m.getName().equals("groupMetadataTopicConfigs")) throw ExternalCluster.abort("reaches into the broker: groupCoordinator." + m.getName());
            Properties topic = new Properties();
            topic.put("cleanup.policy", "compact");
            topic.put("compression.type", "producer");
            topic.put("segment.bytes", process.properties.getOrDefault("offsets.topic.segment.bytes", "104857600"));
            return topic;
        });
        sockets = Sockets.of(process);
    }

    @SuppressWarnings("unchecked")
    private static <T> T proxy(Class<T> type, InvocationHandler handler) {
        return (T) Proxy.newProxyInstance(type.getClassLoader(), new Class<?>[]{type}, (self, m, args) -> switch (m.getName()) {
            case "hashCode" -> System.identityHashCode(self);
            case "equals" -> self == args[0];
            case "toString" -> "external " + type.getSimpleName();
            default -> handler.invoke(self, m, args);
        });
    }

    private Object onBroker(Object self, Method m, Object[] args) {
        switch (m.getName()) {
            case "config":
                if (config == null) throw ExternalCluster.abort("a configuration that KafkaConfig refuses here");
                return config;
            case "boundPort":
                return process.port((ListenerName) args[0]);
            case "clusterId":
                return process.with(a -> a.describeCluster().clusterId().get(30, TimeUnit.SECONDS));
            case "socketServer":
                return sockets;
            case "metadataCache":
                return metadata;
            case "groupCoordinator":
                return groups;
            case "authorizerPlugin":
                return Option.apply(process.authorizer().plugin());
            case "dataPlaneRequestProcessor":
                return apis();
            case "tokenCache":
                return tokens();
            case "shutdown":
                process.shutdown();
                return null;
            case "awaitShutdown":
                return null;
            case "startup":
                process.start();
                return null;
            case "isShutdown":
                return !process.alive();
            case "brokerState":
                return process.alive() ? BrokerState.RUNNING : BrokerState.NOT_RUNNING;
            default:
                throw ExternalCluster.abort("reaches into the broker: " + m.getName());
        }
    }

    @SuppressWarnings("unchecked")
    private static <T> T withoutConstructor(Class<T> type) {
        try {
            Class<?> unsafe = Class.forName("sun.misc.Unsafe");
            Field f = unsafe.getDeclaredField("theUnsafe");
            f.setAccessible(true);
            return (T) unsafe.getMethod("allocateInstance", Class.class).invoke(f.get(null), type);
        } catch (ReflectiveOperationException e) {
            throw new IllegalStateException(e);
        }
    }

    /** Only its authorizer is known. */
    private KafkaApis apis() {
        KafkaApis apis = withoutConstructor(KafkaApis.class);
        try {
            Field plugin = KafkaApis.class.getDeclaredField("authorizerPlugin");
            plugin.setAccessible(true);
            plugin.set(apis, Option.apply(process.authorizer().plugin()));
        } catch (ReflectiveOperationException e) {
            throw new IllegalStateException(e);
        }
        return apis;
    }

    private DelegationTokenCache tokens() {
        DelegationTokenCache cache = new DelegationTokenCache(ScramMechanism.mechanismNames());
        process.with(a -> a.describeDelegationToken().delegationTokens().get(30, TimeUnit.SECONDS)).forEach(token -> cache.addToken(token.tokenInfo().tokenId(), token.tokenInfo()));
        return cache;
    }

    private Optional<TopicDescription> describe(String topic) {
        return process.with(a -> {
            try {
                return Optional.of(a.describeTopics(List.of(topic)).allTopicNames().get(30, TimeUnit.SECONDS).get(topic));
            } catch (ExecutionException e) {
                if (e.getCause() instanceof UnknownTopicOrPartitionException) return Optional.empty();
                throw e.getCause() instanceof KafkaException k ? k : e;
            }
        });
    }

    private Optional<TopicPartitionInfo> describe(String topic, int partition) {
        return describe(topic).flatMap(d -> d.partitions().stream().filter(p -> p.partition() == partition).findFirst());
    }

    private Object onMetadata(Object self, Method m, Object[] args) {
        switch (m.getName()) {
            case "numPartitions":
                return describe((String) args[0]).map(d -> d.partitions().size());
            case "contains":
                return args[0] instanceof TopicPartition t ? describe(t.topic(), t.partition()).isPresent() : describe((String) args[0]).isPresent();
            case "getTopicId":
                return describe((String) args[0]).map(TopicDescription::topicId).orElse(org.apache.kafka.common.Uuid.ZERO_UUID);
            case "getAllTopics":
                return process.with(a -> a.listTopics(new org.apache.kafka.clients.admin.ListTopicsOptions().listInternal(true)).names().get(30, TimeUnit.SECONDS));
            case "getLeaderAndIsr":
                return describe((String) args[0], (Integer) args[1]).filter(p -> p.leader() != null && !p.leader().isEmpty())
                    .map(p -> new LeaderAndIsr(p.leader().id(), p.isr().stream().map(Node::id).toList()));
            case "hasAliveBroker":
                return process.alive() && args[0].equals(process.node);
            case "getAliveBrokerNodes", "getBrokerNodes":
                return process.alive() ? List.of(new Node(process.node, "localhost", process.port)) : List.of();
            default:
                throw ExternalCluster.abort("reaches into the broker: metadataCache." + m.getName());
        }
    }

    /** Only its port is known. It is made without its constructor, which would start a server. */
    private static final class Sockets extends SocketServer {
        private BrokerProcess process;

        private Sockets() {
            super(null, null, null, null, null, null, null);
        }

        static SocketServer of(BrokerProcess process) {
            Sockets s = withoutConstructor(Sockets.class);
            s.process = process;
            return s;
        }

        @Override
        public int boundPort(ListenerName listener) {
            return process.port(listener);
        }

        @Override
        public KafkaConfig config() {
            throw ExternalCluster.abort("reaches into the broker: socketServer.config");
        }

        @Override
        public kafka.network.ConnectionQuotas connectionQuotas() {
            throw ExternalCluster.abort("reaches into the broker: socketServer.connectionQuotas");
        }

        @Override
        public kafka.network.RequestChannel dataPlaneRequestChannel() {
            throw ExternalCluster.abort("reaches into the broker: socketServer.dataPlaneRequestChannel");
        }
    }
}
