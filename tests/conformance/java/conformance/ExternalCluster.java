package conformance;

import kafka.server.ControllerServer;
import kafka.server.KafkaBroker;
import org.apache.kafka.clients.admin.*;
import org.apache.kafka.clients.consumer.GroupProtocol;
import org.apache.kafka.common.acl.*;
import org.apache.kafka.common.errors.UnknownTopicOrPartitionException;
import org.apache.kafka.common.network.ListenerName;
import org.apache.kafka.common.security.auth.SecurityProtocol;
import org.apache.kafka.common.test.ClusterInstance;
import org.apache.kafka.common.test.JaasUtils;
import org.apache.kafka.common.test.api.*;
import org.apache.kafka.server.authorizer.Authorizer;
import org.apache.kafka.server.common.Feature;
import org.apache.kafka.server.fault.FaultHandlerException;
import org.opentest4j.TestAbortedException;

import java.util.*;
import java.util.concurrent.Callable;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import java.util.stream.Collectors;

/** A cluster of one external broker, node 0. A test that needs the broker's Java objects is skipped. */
public final class ExternalCluster implements ClusterInstance {
    /** "skip": a test that asks for several brokers is skipped. Otherwise it gets one broker, and every replication factor becomes 1. */
    static final boolean CLAMP = !"skip".equals(System.getenv("CONFORMANCE_MULTI"));
    static final boolean SECURITY = "1".equals(System.getenv("CONFORMANCE_SECURITY"));
    /** Why the current test cannot run against an external broker; null if it can. Read by RunClass. */
    static volatile String aborted;
    /** What was changed for the current test, for example "3 brokers as 1". */
    static volatile String note = "";

    /** How many brokers the current test asked for. If more than one, topics still get one replica. Read by NewTopic. */
    public static volatile int brokersAsked = 1;

    static volatile BrokerProcess current;

    private final ClusterConfig config;
    private final boolean combined;
    private BrokerProcess broker;
    private BrokerHandle handle;
    private boolean stopped;

    public ExternalCluster(ClusterConfig config, boolean combined) {
        this.config = config;
        this.combined = combined;
    }

    public static TestAbortedException abort(String why) {
        if (aborted == null) aborted = why;
        return new TestAbortedException(why);
    }

    /** Records that one broker takes the place of several. */
    public static String several(int brokers) {
        if (!CLAMP) throw abort("needs " + brokers + " brokers");
        brokersAsked = brokers;
        return note = brokers + " brokers as 1";
    }

    /** Called before each test: skips what one external broker cannot provide. */
    public void check() {
        List<String> notes = new ArrayList<>();
        brokersAsked = 1;
        if (config.numBrokers() > 1) {
            notes.add(several(config.numBrokers()));
        }
        if (config.brokerSecurityProtocol() != SecurityProtocol.PLAINTEXT) {
            if (!SECURITY || config.brokerSecurityProtocol() != SecurityProtocol.SASL_PLAINTEXT) throw abort("security protocol " + config.brokerSecurityProtocol());
            notes.add("SASL_PLAINTEXT");
        }
        if (!config.features().isEmpty() || config.metadataVersion() != org.apache.kafka.server.common.MetadataVersion.latestTesting())
            notes.add("features " + features());
        note = String.join("; ", notes);
    }

    private String features() {
        return (config.metadataVersion() + " " + config.features().entrySet().stream().map(e -> e.getKey().featureName() + "=" + e.getValue()).sorted().collect(Collectors.joining(","))).trim();
    }

    private Map<String, String> allProperties() {
        Map<String, String> p = new TreeMap<>(config.serverProperties());
        for (int id : new int[]{3000, 0}) p.putAll(config.perServerOverrideProperties().getOrDefault(id, Map.of()));
        if (config.numBrokers() > 1)
            for (String key : List.of("offsets.topic.replication.factor", "transaction.state.log.replication.factor", "transaction.state.log.min.isr",
                "share.coordinator.state.topic.replication.factor", "share.coordinator.state.topic.min.isr", "default.replication.factor", "min.insync.replicas"))
                p.put(key, "1");
        if (config.brokerSecurityProtocol() == SecurityProtocol.SASL_PLAINTEXT) {
            String l = "listener.name." + clientListener().value().toLowerCase(Locale.ROOT);
            p.putIfAbsent("sasl.enabled.mechanisms", "PLAIN");
            p.putIfAbsent("sasl.mechanism.inter.broker.protocol", "PLAIN");
            p.putIfAbsent(l + ".plain.sasl.jaas.config", String.format("org.apache.kafka.common.security.plain.PlainLoginModule required username=\"%s\" password=\"%s\" user_%s=\"%s\" user_%s=\"%s\";",
                JaasUtils.KAFKA_PLAIN_ADMIN, JaasUtils.KAFKA_PLAIN_ADMIN_PASSWORD, JaasUtils.KAFKA_PLAIN_ADMIN, JaasUtils.KAFKA_PLAIN_ADMIN_PASSWORD,
                JaasUtils.KAFKA_PLAIN_USER1, JaasUtils.KAFKA_PLAIN_USER1_PASSWORD));
            p.putIfAbsent("authorizer.class.name", "org.apache.kafka.metadata.authorizer.StandardAuthorizer");
            p.putIfAbsent("allow.everyone.if.no.acl.found", "false");
            p.putIfAbsent("super.users", "User:" + JaasUtils.KAFKA_PLAIN_ADMIN + ";User:ANONYMOUS");
        }
        return p;
    }

    @Override
    public void start() {
        if (broker == null) {
            Map<String, String> env = new HashMap<>();
            env.put("CONFORMANCE_METADATA_VERSION", config.metadataVersion().toString());
            env.put("CONFORMANCE_FEATURES", config.features().entrySet().stream().map(e -> e.getKey().featureName() + "=" + e.getValue()).collect(Collectors.joining(",")));
            broker = new BrokerProcess(clientListener().value(), config.brokerSecurityProtocol().name, allProperties(), config.numDisksPerBroker(), env,
                setClientSaslConfig(Map.of()));
            handle = new BrokerHandle(broker, null);
            current = broker;
        }
        broker.start();
    }

    private BrokerProcess broker() {
        if (broker == null) throw new IllegalStateException("the cluster was not started");
        return broker;
    }

    @Override
    public void stop() {
        if (stopped) return;
        stopped = true;
        if (broker != null) broker.stop();
    }

    @Override
    public boolean started() {
        return broker != null;
    }

    @Override
    public boolean stopped() {
        return stopped;
    }

    @Override
    public void shutdownBroker(int id) {
        one(id);
        broker().shutdown();
    }

    @Override
    public void startBroker(int id) {
        one(id);
        broker().start();
    }

    private void one(int id) {
        if (id != 0) throw abort("there is no broker " + id);
    }

    @Override
    public Type type() {
        return combined ? Type.CO_KRAFT : Type.KRAFT;
    }

    @Override
    public ClusterConfig config() {
        return config;
    }

    @Override
    public Map<Integer, KafkaBroker> brokers() {
        if (handle == null) throw abort("brokers() before the cluster starts");
        return Map.of(0, handle.broker);
    }

    @Override
    public Map<Integer, KafkaBroker> aliveBrokers() {
        return broker().alive() ? brokers() : Map.of();
    }

    @Override
    public Set<Integer> brokerIds() {
        return Set.of(0);
    }

    /** An empty map: iterating over it, or asking for a controller, skips the test. */
    @Override
    public Map<Integer, ControllerServer> controllers() {
        return new AbstractMap<>() {
            @Override
            public Set<Entry<Integer, ControllerServer>> entrySet() {
                return new AbstractSet<>() {
                    @Override
                    public Iterator<Entry<Integer, ControllerServer>> iterator() {
                        return new Iterator<>() {
                            @Override
                            public boolean hasNext() {
                                return false;
                            }

                            @Override
                            public Entry<Integer, ControllerServer> next() {
                                throw abort("reaches into the controller");
                            }
                        };
                    }

                    @Override
                    public int size() {
                        return 0;
                    }
                };
            }

            @Override
            public ControllerServer get(Object id) {
                throw abort("reaches into the controller");
            }
        };
    }

    @Override
    public Set<Integer> controllerIds() {
        throw abort("controllerIds()");
    }

    @Override
    public ListenerName clientListener() {
        return config.brokerListenerName();
    }

    @Override
    public ListenerName controllerListenerName() {
        throw abort("controllerListenerName()");
    }

    @Override
    public String bootstrapServers() {
        return broker().bootstrap();
    }

    @Override
    public String bootstrapControllers() {
        throw abort("bootstrapControllers()");
    }

    @Override
    public List<Integer> controllerBoundPorts() {
        throw abort("controllerBoundPorts()");
    }

    @Override
    public List<Integer> brokerBoundPorts() {
        return List.of(broker().port);
    }

    @Override
    public String clusterId() {
        return with(a -> a.describeCluster().clusterId().get(30, TimeUnit.SECONDS));
    }

    @Override
    public Set<GroupProtocol> supportedGroupProtocols() {
        String protocols = config.serverProperties().getOrDefault("group.coordinator.rebalance.protocols", "classic,consumer");
        short level = config.features().getOrDefault(Feature.GROUP_VERSION, Feature.GROUP_VERSION.defaultLevel(config.metadataVersion()));
        return protocols.contains("consumer") && level > 0 ? Set.of(GroupProtocol.CLASSIC, GroupProtocol.CONSUMER) : Set.of(GroupProtocol.CLASSIC);
    }

    @Override
    public Optional<FaultHandlerException> firstFatalException() {
        throw abort("firstFatalException()");
    }

    @Override
    public Optional<FaultHandlerException> firstNonFatalException() {
        throw abort("firstNonFatalException()");
    }

    @Override
    public Admin admin(Map<String, Object> configs, boolean controllers) {
        if (controllers) throw abort("an admin client of the controllers");
        return ClusterInstance.super.admin(configs, false);
    }

    private <T> T with(BrokerProcess.AdminCall<T> call) {
        return broker().with(call);
    }

    private static void await(Callable<Boolean> condition, String what) throws InterruptedException {
        long end = System.currentTimeMillis() + 60_000;
        while (true) {
            try {
                if (condition.call()) return;
            } catch (InterruptedException e) {
                throw e;
            } catch (Exception e) {
                if (System.currentTimeMillis() > end) throw new AssertionError(what, e);
            }
            if (System.currentTimeMillis() > end) throw new AssertionError(what);
            Thread.sleep(30);
        }
    }

    @Override
    public void waitForReadyBrokers() throws InterruptedException {
        await(() -> with(a -> a.describeCluster().nodes().get(30, TimeUnit.SECONDS)).size() == 1, "the broker is not ready");
    }

    @Override
    public void waitTopicCreation(String topic, int partitions) throws InterruptedException {
        if (partitions <= 0) throw new IllegalArgumentException("partitions " + partitions);
        try (Admin admin = broker().admin()) {
            await(() -> {
                TopicDescription d = admin.describeTopics(List.of(topic)).allTopicNames().get(30, TimeUnit.SECONDS).get(topic);
                return d.partitions().size() == partitions && d.partitions().stream().allMatch(p -> p.leader() != null && !p.leader().isEmpty());
            }, topic + " did not get its " + partitions + " partitions");
        }
    }

    @Override
    public void waitTopicDeletion(String topic) throws InterruptedException {
        try (Admin admin = broker().admin()) {
            await(() -> {
                try {
                    admin.describeTopics(List.of(topic)).allTopicNames().get(30, TimeUnit.SECONDS);
                    return false;
                } catch (ExecutionException e) {
                    return e.getCause() instanceof UnknownTopicOrPartitionException;
                }
            }, topic + " was not deleted");
        }
    }

    @Override
    public void createTopicWithAssignment(String topic, Map<Integer, List<Integer>> assignment) throws InterruptedException {
        try (Admin admin = admin(Map.of(), false)) {
            admin.createTopics(List.of(new NewTopic(topic, assignment)));
            waitTopicCreation(topic, assignment.size());
        }
    }

    @Override
    public void ensureConsistentMetadata() {
        // one broker is always consistent
    }

    @Override
    public void ensureConsistentMetadata(Collection<KafkaBroker> brokers, Collection<ControllerServer> controllers) {
        // as above
    }

    @Override
    public List<Authorizer> authorizers() {
        throw abort("authorizers()");
    }

    @Override
    public void waitAcls(AclBindingFilter filter, Collection<AccessControlEntry> entries) throws InterruptedException {
        await(() -> {
            Set<AccessControlEntry> found = new HashSet<>();
            broker().authorizer().acls(filter).forEach(acl -> found.add(acl.entry()));
            return found.equals(new HashSet<>(entries));
        }, "the ACLs did not become " + entries);
    }
}
