package conformance;

import org.apache.kafka.clients.admin.*;

import java.io.*;
import java.net.*;
import java.nio.ByteBuffer;
import java.nio.file.*;
import java.util.*;
import java.util.concurrent.TimeUnit;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/** One external broker, started by the command CONFORMANCE_BROKER: {config} stands for its properties file, {dir} for its folder. It stays in the process group of the tests. */
public final class BrokerProcess {
    private static final String CMD = System.getenv("CONFORMANCE_BROKER");
    private static final long START_LIMIT_MS = Long.parseLong(System.getenv().getOrDefault("CONFORMANCE_START_LIMIT_MS", "60000"));
    public static volatile long startsTotalMs;
    public static volatile int starts;
    private static final Pattern SCRAM_USER = Pattern.compile("(SCRAM-SHA-\\d+)=\\[name=([^,]*),password=([^,]*)\\]");
    private static final Set<Process> STARTED = java.util.concurrent.ConcurrentHashMap.newKeySet();

    public final Map<String, String> properties = new TreeMap<>();
    /** The port of the first listener, which this class connects to. */
    public final int port;
    public final int node;
    private final Map<String, Integer> ports = new LinkedHashMap<>();
    private final Path dir;
    private final Map<String, String> environment;
    private final Map<String, Object> clientConfig;
    private final Security security;
    /** SCRAM users that must exist when the test begins. */
    private final List<String> scramUsers;
    private ExternalAuthorizer authorizer;
    private Process process;

    public interface AdminCall<T> {
        T apply(Admin admin) throws Exception;
    }

    /**
     * @param given the test's server properties; a listener with port 0 gets a free port
     * @param environment the metadata version and feature levels that the test asks for; only Apache Kafka's launcher reads them
     */
    public BrokerProcess(String listener, String protocol, Map<String, String> given, int disks, Map<String, String> environment, Map<String, Object> clientConfig) {
        this(listener, protocol, given, disks, environment, clientConfig, List.of());
    }

    /** @param scramUsers arguments of a formatter: `SCRAM-SHA-256=[name=...,password=...]` */
    BrokerProcess(String listener, String protocol, Map<String, String> given, int disks, Map<String, String> environment, Map<String, Object> clientConfig, List<String> scramUsers) {
        if (CMD == null) throw new IllegalStateException("CONFORMANCE_BROKER is not set");
        this.environment = environment;
        this.scramUsers = scramUsers;
        List<String> listeners = new ArrayList<>(), dirs = new ArrayList<>();
        try {
            dir = Files.createTempDirectory(Path.of(System.getenv().getOrDefault("CONFORMANCE_TMP", "/tmp")), "itest-broker");
            for (String l : given.getOrDefault("listeners", listener + "://localhost:0").split(",")) {
                String name = l.trim().substring(0, l.trim().indexOf("://"));
                int end = l.lastIndexOf(':'), p = Integer.parseInt(l.substring(end + 1).trim());
                ports.put(name, p == 0 ? freePort() : p);
                listeners.add(l.trim().substring(0, l.trim().lastIndexOf(':')) + ":" + ports.get(name));
            }
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
        port = ports.values().iterator().next();
        for (int i = 0; i < disks; i++) dirs.add(dir.resolve("data" + i).toString());
        properties.put("node.id", "0");
        properties.put("listener.security.protocol.map", listener + ":" + protocol);
        properties.put("inter.broker.listener.name", listener);
        properties.put("log.dirs", String.join(",", dirs));
        // Kafka's own test kit sets these three keys.
        properties.put("log.cleaner.dedupe.buffer.size", "2097152");
        properties.put("unstable.feature.versions.enable", "true");
        properties.put("unstable.api.versions.enable", "true");
        properties.putAll(given);
        properties.put("listeners", String.join(",", listeners));
        node = Integer.parseInt(properties.get("node.id"));
        try {
            security = clientConfig.isEmpty() ? new Security(properties, ports) : null;
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
        this.clientConfig = security == null ? clientConfig : security.clientConfig();
        properties.values().forEach(BrokerProcess::refusePlugins);
    }

    /** An external broker cannot load a plugin class that exists only in the test jars. */
    private static void refusePlugins(String value) {
        for (String name : value.split(",")) {
            if (!name.trim().matches("([a-z]\\w*\\.)+[A-Z][\\w$]*")) continue;
            URL at = BrokerProcess.class.getClassLoader().getResource(name.trim().replace('.', '/') + ".class");
            if (at != null && at.toString().contains("-test.jar")) throw ExternalCluster.abort("needs a plugin of the tests in the broker: " + name.trim());
        }
    }

    public int port(org.apache.kafka.common.network.ListenerName listener) {
        return ports.getOrDefault(listener.value(), port);
    }

    public Admin admin() {
        Map<String, Object> c = new HashMap<>(clientConfig);
        c.put("bootstrap.servers", "localhost:" + ownPort());
        return Admin.create(c);
    }

    public <T> T with(AdminCall<T> call) {
        try (Admin admin = admin()) {
            return call.apply(admin);
        } catch (RuntimeException e) {
            throw e;
        } catch (Exception e) {
            throw new IllegalStateException(e);
        }
    }

    /** The port that the shim itself connects to. */
    private int ownPort() {
        return security != null && security.port != 0 ? security.port : port;
    }

    /** The type of the principals that clients have, as the test sees it. */
    String principalType() {
        return security == null || security.typeAsUser == null ? "User" : security.typeAsUser;
    }

    synchronized ExternalAuthorizer authorizer() {
        if (authorizer == null) authorizer = new ExternalAuthorizer(this);
        return authorizer;
    }

    public static int freePort() throws IOException {
        try (ServerSocket s = new ServerSocket()) {
            s.bind(new InetSocketAddress("localhost", 0));
            return s.getLocalPort();
        }
    }

    public String bootstrap() {
        return "localhost:" + port;
    }

    public synchronized void start() {
        if (process != null && process.isAlive()) return;
        long begin = System.nanoTime();
        try {
            Path config = dir.resolve("server.properties");
            Properties p = new Properties();
            p.putAll(properties);
            try (Writer w = Files.newBufferedWriter(config)) {
                p.store(w, null);
            }
            String command = CMD.replace("{config}", config.toString()).replace("{dir}", dir.toString());
            ProcessBuilder b = new ProcessBuilder("sh", "-c", "exec " + command);
            b.environment().putAll(environment);
            String logins = System.getProperty("java.security.auth.login.config");
            for (String name : logins == null ? List.<String>of() : List.of("KAFKA_OPTS", "JDK_JAVA_OPTIONS")) b.environment().put(name, "-Djava.security.auth.login.config=" + logins);
            b.redirectErrorStream(true).redirectOutput(ProcessBuilder.Redirect.appendTo(dir.resolve("broker.log").toFile()));
            b.redirectInput(new File("/dev/null"));
            process = b.start();
            STARTED.add(process);
            awaitAnswer();
            createScramUsers();
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        } catch (InterruptedException e) {
            kill();
            Thread.currentThread().interrupt();
            throw new IllegalStateException("interrupted while the broker started", e);
        }
        startsTotalMs += (System.nanoTime() - begin) / 1_000_000;
        starts++;
    }

    private void createScramUsers() {
        List<UserScramCredentialAlteration> users = new ArrayList<>();
        for (String each : scramUsers) {
            Matcher user = SCRAM_USER.matcher(each);
            if (!user.matches()) throw new IllegalArgumentException(each);
            users.add(new UserScramCredentialUpsertion(user.group(2), new ScramCredentialInfo(ScramMechanism.fromMechanismName(user.group(1)), 4096), user.group(3)));
        }
        if (!users.isEmpty()) with(admin -> admin.alterUserScramCredentials(users).all().get(30, TimeUnit.SECONDS));
    }

    private void awaitAnswer() throws InterruptedException {
        long end = System.currentTimeMillis() + START_LIMIT_MS;
        byte[] request = ByteBuffer.allocate(18).putInt(14).putShort((short) 18).putShort((short) 0).putInt(7).putShort((short) 4).put("shim".getBytes()).array();
        boolean answered = false;
        while (!answered) {
            check(end);
            try (Socket s = new Socket()) {
                s.connect(new InetSocketAddress("localhost", ownPort()), 1000);
                s.setSoTimeout(3000);
                s.getOutputStream().write(request);
                byte[] head = s.getInputStream().readNBytes(8);
                answered = head.length == 8 && ByteBuffer.wrap(head, 4, 4).getInt() == 7;
            } catch (IOException e) {
                Thread.sleep(10);
            }
        }
        // A broker may answer before it has registered itself.
        try (Admin admin = admin()) {
            while (true) {
                check(end);
                try {
                    if (!admin.describeCluster().nodes().get(20, TimeUnit.SECONDS).isEmpty()) return;
                } catch (java.util.concurrent.ExecutionException | java.util.concurrent.TimeoutException e) {
                    if (System.currentTimeMillis() > end) throw new IllegalStateException("the broker does not describe its cluster: " + e.getCause());
                }
                Thread.sleep(20);
            }
        }
    }

    private void check(long end) {
        if (!process.isAlive()) throw new IllegalStateException("the broker ended with " + process.exitValue() + ": " + lastLog());
        if (System.currentTimeMillis() > end) {
            kill();
            throw new IllegalStateException("the broker did not answer within " + START_LIMIT_MS + " ms: " + lastLog());
        }
    }

    private String lastLog() {
        try {
            List<String> lines = Files.readAllLines(dir.resolve("broker.log"));
            List<String> telling = lines.stream().filter(l -> l.contains("ERROR") || l.contains("Exception") || l.contains("rror:")).toList();
            if (!telling.isEmpty()) return telling.get(telling.size() - 1);
            return lines.isEmpty() ? "" : lines.get(lines.size() - 1);
        } catch (IOException | UncheckedIOException e) {
            return "";
        }
    }

    /** Whether a broker runs now. Process.onExit would start a thread, which the tests' search for leaked threads may find. */
    static boolean someRun() {
        STARTED.removeIf(p -> !p.isAlive());
        return !STARTED.isEmpty();
    }

    public boolean alive() {
        return process != null && process.isAlive();
    }

    /** Stops the broker with SIGTERM and waits. The data stays. */
    public synchronized void shutdown() {
        if (process == null) return;
        process.destroy();
        try {
            if (!process.waitFor(30, TimeUnit.SECONDS)) process.destroyForcibly().waitFor();
        } catch (InterruptedException e) {
            process.destroyForcibly();
            Thread.currentThread().interrupt();
        }
    }

    private void kill() {
        if (process != null) process.destroyForcibly();
    }

    /** Kills the broker and removes its data. */
    public synchronized void stop() {
        boolean interrupted = Thread.interrupted();
        if (authorizer != null) authorizer.close();
        if (security != null) security.proxies.forEach(LoginProxy::close);
        kill();
        try {
            if (process != null) process.waitFor(10, TimeUnit.SECONDS);
            if (System.getenv("CONFORMANCE_KEEP") == null) {
                try (var files = Files.walk(dir)) {
                    files.sorted(Comparator.reverseOrder()).forEach(f -> f.toFile().delete());
                }
            }
        } catch (InterruptedException e) {
            interrupted = true;
        } catch (IOException | UncheckedIOException e) {
            // the file was removed by somebody else
        }
        if (interrupted) Thread.currentThread().interrupt();
    }
}
