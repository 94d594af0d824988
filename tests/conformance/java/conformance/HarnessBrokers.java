package conformance;

import kafka.server.KafkaBroker;
import kafka.server.KafkaConfig;
import kafka.server.QuorumImplementation;
import org.apache.kafka.common.config.types.Password;
import org.apache.kafka.common.utils.Time;
import org.apache.kafka.server.common.MetadataVersion;
import scala.Option;

import java.util.*;
import java.util.stream.Collectors;

/** The brokers of a test on Kafka's Scala harness. All of them are one external process, started with the configuration of the first. */
public final class HarnessBrokers implements QuorumImplementation {
    private final Map<String, String> controllers = new TreeMap<>();
    private final Map<String, String> environment = new HashMap<>();
    private BrokerProcess process;
    static volatile BrokerProcess current;
    private int made;
    private List<String> scramUsers = List.of();

    public void begin(MetadataVersion version, Collection<Properties> controllerConfigs, List<String> scramUsers) {
        this.scramUsers = scramUsers;
        ExternalCluster.brokersAsked = 1;
        ExternalCluster.note = "";
        controllers.clear();
        controllerConfigs.forEach(c -> c.forEach((k, v) -> controllers.put(k.toString(), v.toString())));
        if (version != MetadataVersion.latestTesting()) ExternalCluster.note = "features " + version;
        environment.put("CONFORMANCE_METADATA_VERSION", version.toString());
    }

    @Override
    public KafkaBroker createBroker(KafkaConfig config, Time time, boolean startup, Option<String> threads) {
        if (time != Time.SYSTEM) throw ExternalCluster.abort("needs a broker with a mock clock");
        int id = config.nodeId();
        if (process == null) process = new BrokerProcess("PLAINTEXT", "PLAINTEXT", properties(config), 1, environment, Map.of(), scramUsers);
        current = process;
        made++;
        if (made > 1 && id != process.node) ExternalCluster.several(made);
        KafkaBroker broker = new BrokerHandle(process, config).broker;
        if (startup) broker.startup();
        return broker;
    }

    private Map<String, String> properties(KafkaConfig config) {
        Map<String, String> p = new TreeMap<>(controllers);
        config.originals().forEach((k, v) -> p.put(k, v instanceof Password secret ? secret.value() : v instanceof List<?> l ? l.stream().map(String::valueOf).collect(Collectors.joining(",")) : v.toString()));
        p.keySet().removeIf(k -> k.startsWith("controller.listener") || k.startsWith("controller.quorum") || k.equals("process.roles") || k.equals("broker.id") || k.equals("metadata.log.dir"));
        p.put("node.id", String.valueOf(config.nodeId()));
        p.put("log.dirs", String.join(",", config.logDirs()));
        p.remove("log.dir");
        String map = Arrays.stream(p.getOrDefault("listener.security.protocol.map", "PLAINTEXT:PLAINTEXT").split(",")).map(String::trim).filter(e -> !e.startsWith("CONTROLLER:"))
            .collect(Collectors.joining(","));
        p.put("listener.security.protocol.map", map);
        if (p.containsKey("security.inter.broker.protocol")) p.put("inter.broker.listener.name", p.remove("security.inter.broker.protocol"));
        for (String key : List.of("offsets.topic.replication.factor", "transaction.state.log.replication.factor", "transaction.state.log.min.isr",
            "share.coordinator.state.topic.replication.factor", "share.coordinator.state.topic.min.isr", "default.replication.factor", "min.insync.replicas"))
            p.merge(key, "1", (set, one) -> set.matches("[1-5]") ? one : set);
        return p;
    }

    @Override
    public void shutdown() {
        if (process != null) process.stop();
        process = current = null;
        made = 0;
    }
}
