package org.apache.kafka.common.test.junit;

import conformance.ExternalCluster;
import org.apache.kafka.common.test.api.ClusterConfig;
import org.apache.kafka.common.test.api.Type;
import org.junit.jupiter.api.extension.*;

import java.util.List;

/** Replaces Kafka's class of this name, because it comes earlier on the class path: each @ClusterTest gets an external broker. */
public class RaftClusterInvocationContext implements TestTemplateInvocationContext {
    private final String name;
    private final ClusterConfig config;
    private final boolean combined;

    public RaftClusterInvocationContext(String name, ClusterConfig config, boolean combined) {
        this.name = name;
        this.config = config;
        this.combined = combined;
    }

    @Override
    public String getDisplayName(int index) {
        return String.format("%s [%d] Type=Raft-%s, %s", name, index, combined ? "Combined" : "Isolated", String.join(",", config.displayTags()));
    }

    @Override
    public List<Extension> getAdditionalExtensions() {
        // Clients cannot tell a combined from an isolated cluster, so only the isolated one runs.
        boolean twin = combined && config.clusterTypes().contains(Type.KRAFT);
        ExternalCluster cluster = new ExternalCluster(config, combined);
        return List.of(
            (BeforeEachCallback) context -> {
                if (twin) throw ExternalCluster.abort("twin: same as Raft-Isolated");
                cluster.check();
                if (config.isAutoStart()) cluster.start();
            },
            (AfterTestExecutionCallback) context -> cluster.stop(),
            (AfterEachCallback) context -> cluster.stop(),
            new ClusterInstanceParameterResolver(cluster));
    }
}
