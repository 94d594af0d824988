package kafka.security.minikdc;

import conformance.ExternalCluster;

import java.io.File;
import java.util.List;
import java.util.Properties;

/** Replaces the KDC of Kafka's tests, whose libraries are not here: a test that starts one is skipped. */
public class MiniKdc {
    public MiniKdc(Properties config, File workDir) {
        throw ExternalCluster.abort("needs Kerberos");
    }

    public static Properties createConfig() {
        return new Properties();
    }

    public void start() {
        // the constructor has ended the test
    }

    public void createPrincipal(File keytab, List<String> principals) {
        // as above
    }

    public void stop() {
        // as above
    }
}
