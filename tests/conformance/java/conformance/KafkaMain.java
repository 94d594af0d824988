package conformance;

import org.apache.kafka.common.Uuid;
import org.apache.kafka.raft.DynamicVoters;
import org.apache.kafka.metadata.storage.Formatter;
import org.apache.kafka.server.common.Feature;
import org.apache.kafka.server.common.MetadataVersion;

import java.io.*;
import java.nio.file.*;
import java.util.*;

/** Apache Kafka as the external broker, for the verdicts to compare with: formats its folder at the first start, then serves, in one JVM. */
public final class KafkaMain {
    public static void main(String[] args) throws Exception {
        Path given = Path.of(args[0]), own = given.resolveSibling("kraft.properties");
        if (!Files.exists(own)) {
            Properties p = new Properties();
            try (Reader r = Files.newBufferedReader(given)) {
                p.load(r);
            }
            String node = p.getProperty("node.id");
            int port = BrokerProcess.freePort();
            p.setProperty("process.roles", "broker,controller");
            p.setProperty("listeners", p.getProperty("listeners") + ",CONTROLLER://localhost:" + port);
            String login = p.getProperty("listener.name.shim.plain.sasl.jaas.config");
            p.setProperty("listener.security.protocol.map", p.getProperty("listener.security.protocol.map") + (login == null ? ",CONTROLLER:PLAINTEXT" : ",CONTROLLER:SASL_PLAINTEXT"));
            if (login != null) {
                p.setProperty("sasl.mechanism.controller.protocol", "PLAIN");
                p.setProperty("listener.name.controller.sasl.enabled.mechanisms", "PLAIN");
                p.setProperty("listener.name.controller.plain.sasl.jaas.config", login);
            }
            p.setProperty("controller.listener.names", "CONTROLLER");
            p.setProperty("controller.quorum.bootstrap.servers", "localhost:" + port);
            p.setProperty("metadata.log.dir", given.resolveSibling("metadata").toString());
            Formatter f = new Formatter().setPrintStream(new PrintStream(OutputStream.nullOutputStream())).setSupportedFeatures(Feature.PRODUCTION_FEATURES).setNodeId(Integer.parseInt(node))
                .setClusterId(Uuid.randomUuid().toString()).setUnstableFeatureVersionsEnabled(true).setControllerListenerName("CONTROLLER")
                .setMetadataLogDirectory(p.getProperty("metadata.log.dir")).setDirectories(new TreeSet<>(Arrays.asList((p.getProperty("log.dirs") + "," + p.getProperty("metadata.log.dir")).split(","))));
            String version = System.getenv().getOrDefault("CONFORMANCE_METADATA_VERSION", ""), features = System.getenv().getOrDefault("CONFORMANCE_FEATURES", "");
            MetadataVersion release = version.isEmpty() ? MetadataVersion.latestTesting() : MetadataVersion.fromVersionString(version, true);
            f.setReleaseVersion(release);
            for (String feature : features.split(",")) if (!feature.isEmpty()) f.setFeatureLevel(feature.split("=")[0], Short.parseShort(feature.split("=")[1]));
            if (release.isLessThan(MetadataVersion.IBP_3_9_IV0)) {
                p.remove("controller.quorum.bootstrap.servers");
                p.setProperty("controller.quorum.voters", node + "@localhost:" + port);
            } else {
                f.setInitialControllers(DynamicVoters.parse(node + "@localhost:" + port + ":" + Uuid.randomUuid())).setHasDynamicQuorum(true);
            }
            f.run();
            try (Writer w = Files.newBufferedWriter(own)) {
                p.store(w, null);
            }
        }
        kafka.Kafka.main(new String[]{own.toString()});
    }
}
