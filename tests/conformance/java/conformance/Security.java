package conformance;

import org.apache.kafka.common.security.auth.*;

import java.io.*;
import java.net.InetAddress;
import java.security.GeneralSecurityException;
import java.security.KeyStore;
import java.util.*;

/**
 * The listeners of a test in a form that an external broker can be given. It cannot load the principal builders of the tests: clients of
 * a plaintext listener that has one are logged in by a LoginProxy, as the user whom the builder names. The shim has a listener of its own.
 */
final class Security {
    private static final String LISTENER = "SHIM", USER = "shim", PASSWORD = "shim-secret", MODULE = "org.apache.kafka.common.security.plain.PlainLoginModule required";
    private static final String BUILDER = "principal.builder.class";
    private final Map<String, String> properties;
    private final Map<String, String> protocols = new LinkedHashMap<>();
    private final Map<String, String> listeners = new LinkedHashMap<>();
    private final Map<String, String> advertised = new LinkedHashMap<>();
    /** The port of the shim's own listener; 0 if it needs none, because the test's listeners are all open. */
    int port;
    /** The type of the test's principals, which log in as users of the same names; null: they are users. */
    String typeAsUser;
    final List<LoginProxy> proxies = new ArrayList<>();

    /** Changes the properties of a broker; `ports`: the test's listeners. */
    Security(Map<String, String> properties, Map<String, Integer> ports) throws IOException {
        this.properties = properties;
        for (String each : properties.get("listener.security.protocol.map").split(",")) protocols.put(each.trim().split(":")[0], each.trim().split(":")[1]);
        boolean open = true;
        for (String name : ports.keySet()) {
            int at = ports.get(name);
            if (protocols.getOrDefault(name, name).equals("PLAINTEXT")) at = behindProxy(name, at);
            open &= protocols.getOrDefault(name, name).equals("PLAINTEXT");
            listeners.put(name, name + "://localhost:" + at);
            advertised.put(name, name + "://localhost:" + ports.get(name));
        }
        if (open) return;
        addOwnListener();
        convert("ssl.keystore", properties.get("ssl.key.password"));
        convert("ssl.truststore", null);
    }

    /** Java's old format JKS becomes PKCS12, as kafka-cy's error message asks for. */
    private void convert(String store, String keyPassword) throws IOException {
        String location = properties.get(store + ".location"), password = properties.get(store + ".password");
        if (location == null || !"JKS".equals(properties.get(store + ".type"))) return;
        try (InputStream in = new FileInputStream(location)) {
            KeyStore from = KeyStore.getInstance("JKS"), to = KeyStore.getInstance("PKCS12");
            from.load(in, password.toCharArray());
            to.load(null, null);
            for (String alias : Collections.list(from.aliases())) {
                if (from.isKeyEntry(alias)) to.setKeyEntry(alias, from.getKey(alias, keyPassword.toCharArray()), password.toCharArray(), from.getCertificateChain(alias));
                else to.setCertificateEntry(alias, from.getCertificate(alias));
            }
            try (OutputStream out = new FileOutputStream(location + ".p12")) {
                to.store(out, password.toCharArray());
            }
        } catch (GeneralSecurityException e) {
            throw new IllegalStateException(e);
        }
        properties.put(store + ".location", location + ".p12");
        properties.put(store + ".type", "PKCS12");
        if (keyPassword != null) properties.put("ssl.key.password", password);
    }

    Map<String, Object> clientConfig() {
        return port == 0 ? Map.of() : Map.of("security.protocol", "SASL_PLAINTEXT", "sasl.mechanism", "PLAIN", "sasl.jaas.config", MODULE + login(USER) + ";");
    }

    private static String login(String user) {
        return " username=\"" + user + "\" password=\"" + PASSWORD + "\"";
    }

    /** @return the port at which the broker listens. */
    private int behindProxy(String listener, int port) throws IOException {
        KafkaPrincipal principal = principal(listener);
        if (principal.equals(KafkaPrincipal.ANONYMOUS)) return port;
        if (!principal.getPrincipalType().equals(KafkaPrincipal.USER_TYPE)) {
            typeAsUser = principal.getPrincipalType();
            ExternalCluster.note = (ExternalCluster.note + "; principals of type " + typeAsUser + " as User").replaceFirst("^; ", "");
        }
        int own = BrokerProcess.freePort();
        sasl(listener, MODULE + " user_" + principal.getName() + "=\"" + PASSWORD + "\";");
        proxies.add(new LoginProxy(port, own, principal.getName(), PASSWORD));
        return own;
    }

    private KafkaPrincipal principal(String listener) {
        String name = properties.remove("listener.name." + listener.toLowerCase(Locale.ROOT) + "." + BUILDER);
        if (name == null) name = properties.get(BUILDER);
        if (name == null) return KafkaPrincipal.ANONYMOUS;
        try {
            KafkaPrincipalBuilder builder = (KafkaPrincipalBuilder) Class.forName(name).getDeclaredConstructor().newInstance();
            return builder.build(new PlaintextAuthenticationContext(InetAddress.getLoopbackAddress(), listener));
        } catch (ReflectiveOperationException e) {
            throw ExternalCluster.abort("needs a plugin of the tests in the broker: " + name);
        }
    }

    private void sasl(String listener, String module) {
        String prefix = "listener.name." + listener.toLowerCase(Locale.ROOT) + ".";
        protocols.put(listener, "SASL_PLAINTEXT");
        properties.put(prefix + "sasl.enabled.mechanisms", "PLAIN");
        properties.put(prefix + "plain.sasl.jaas.config", module);
    }

    private void addOwnListener() throws IOException {
        if (listeners.keySet().stream().allMatch(each -> protocols.getOrDefault(each, each).endsWith("PLAINTEXT"))) properties.remove(BUILDER);
        port = BrokerProcess.freePort();
        listeners.put(LISTENER, LISTENER + "://localhost:" + port);
        sasl(LISTENER, MODULE + login(USER) + " user_" + USER + "=\"" + PASSWORD + "\";");
        properties.put("listeners", String.join(",", listeners.values()));
        advertised.put(LISTENER, listeners.get(LISTENER));
        properties.put("advertised.listeners", String.join(",", advertised.values()));
        StringJoiner map = new StringJoiner(",");
        protocols.forEach((name, protocol) -> map.add(name + ":" + protocol));
        properties.put("listener.security.protocol.map", map.toString());
        properties.put("inter.broker.listener.name", LISTENER);
        properties.put("sasl.mechanism.inter.broker.protocol", "PLAIN");
        properties.merge("super.users", "User:" + USER, (users, own) -> users + ";" + own);
    }
}
