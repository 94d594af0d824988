package conformance;

import org.junit.platform.engine.TestExecutionResult;
import org.junit.platform.engine.discovery.DiscoverySelectors;
import org.junit.platform.engine.support.descriptor.ClassSource;
import org.junit.platform.engine.support.descriptor.MethodSource;
import org.junit.platform.launcher.*;
import org.junit.platform.launcher.core.*;

import java.io.*;
import java.util.*;
import java.util.regex.Pattern;

/** Runs test classes. Appends one line per test to a file: Class#method[display], verdict, reason, seconds and what was changed for the test, separated by tabs. */
public final class RunClass implements TestExecutionListener {
    private static final String LATEST = org.apache.kafka.server.common.MetadataVersion.latestTesting().toString();
    private final PrintWriter out;
    private final Map<String, Long> begun = new HashMap<>();
    private final Map<String, Integer> seen = new HashMap<>();
    /** Names the test that runs: when the time limit of the class ends the JVM, the last line tells which test was running. */
    private final PrintWriter trace;
    /** Number of broker starts before the current test; -1 if a broker was running already. */
    private int startsBefore;

    private RunClass(PrintWriter out, PrintWriter trace) {
        this.out = out;
        this.trace = trace;
    }

    public static void main(String[] args) throws Exception {
        String file = args[0], only = System.getenv("CONFORMANCE_TESTS"), limit = System.getenv().getOrDefault("CONFORMANCE_TEST_LIMIT", "90 s");
        LauncherDiscoveryRequestBuilder b = LauncherDiscoveryRequestBuilder.request()
            .configurationParameter("junit.jupiter.extensions.autodetection.enabled", "true")
            .configurationParameter("junit.jupiter.execution.timeout.testable.method.default", limit)
            .configurationParameter("junit.jupiter.execution.timeout.lifecycle.method.default", limit);
        for (String name : Arrays.copyOfRange(args, 1, args.length)) b.selectors(DiscoverySelectors.selectClass(name));
        if (only != null && !only.isEmpty()) {
            Pattern p = Pattern.compile(only);
            b.filters((PostDiscoveryFilter) d -> d.getSource().filter(s -> s instanceof MethodSource)
                .map(s -> ((MethodSource) s)).map(m -> p.matcher(m.getClassName() + "#" + m.getMethodName()).find()).orElse(!d.isTest())
                ? org.junit.platform.engine.FilterResult.included("") : org.junit.platform.engine.FilterResult.excluded(""));
        }
        try (PrintWriter out = new PrintWriter(new FileWriter(file, true), true); PrintWriter trace = new PrintWriter(new FileWriter(file + ".trace", true), true)) {
            LauncherFactory.create().execute(b.build(), new RunClass(out, trace));
            trace.println("starts " + BrokerProcess.starts + " ms " + BrokerProcess.startsTotalMs);
        }
        System.exit(0);
    }

    @Override
    public void executionStarted(TestIdentifier id) {
        begun.put(id.getUniqueId(), System.nanoTime());
        ExternalCluster.aborted = null;
        if (!id.isTest() && id.getSource().orElse(null) instanceof ClassSource) ExternalCluster.note = "";
        if (!id.isTest()) return;
        startsBefore = BrokerProcess.someRun() ? -1 : BrokerProcess.starts;
        trace.println("began " + method(id) + " " + id.getDisplayName());
    }

    @Override
    public void executionSkipped(TestIdentifier id, String reason) {
        if (id.getSource().isPresent()) out.println(name(id) + "\tSKIPPED\tdisabled: " + clean(reason) + "\t0.0\t");
    }

    @Override
    public void executionFinished(TestIdentifier id, TestExecutionResult result) {
        Throwable t = result.getThrowable().orElse(null);
        if (!id.isTest() && t == null) return;
        String reason = t == null ? "" : clean(t.getClass().getSimpleName() + ": " + t.getMessage()), verdict;
        String aborted = ExternalCluster.aborted;
        if (aborted == null && t instanceof ClassCastException && reason.contains("Proxy")) aborted = "reaches into the broker: a cast";
        switch (result.getStatus()) {
            case SUCCESSFUL -> verdict = "PASSED";
            case ABORTED -> verdict = "SKIPPED";
            default -> verdict = aborted == null ? "FAILED" : "SKIPPED";
        }
        if (verdict.equals("SKIPPED") && aborted != null) reason = aborted;
        if (reason.startsWith("twin:")) return;
        if (verdict.equals("FAILED") && t != null && System.getenv("CONFORMANCE_TRACE") != null) t.printStackTrace();
        double seconds = (System.nanoTime() - begun.getOrDefault(id.getUniqueId(), System.nanoTime())) / 1e9;
        out.println(name(id) + "\t" + verdict + "\t" + reason + "\t" + String.format(Locale.ROOT, "%.1f", seconds) + "\t"
            + (id.isTest() && verdict.equals("PASSED") && startsBefore == BrokerProcess.starts ? "no broker" : ExternalCluster.note));
    }

    private static String clean(String s) {
        s = s == null ? "" : s.replaceAll("\\s+", " ").trim();
        return s.length() > 200 ? s.substring(0, 200) : s;
    }

    private static String method(TestIdentifier id) {
        return id.getSource().map(s -> s instanceof MethodSource m ? m.getClassName() + "#" + m.getMethodName()
            : s instanceof ClassSource c ? c.getClassName() + "#" : s.toString()).orElse("?");
    }

    /** A name that is the same in every run. The running index is removed, because the two cluster types come in any order; equal names get #2, #3. */
    private String name(TestIdentifier id) {
        String m = method(id), d = id.getDisplayName(), method = m.substring(m.indexOf('#') + 1);
        if (d.startsWith(method)) d = d.substring(method.length()).replaceFirst("^\\([^)]*\\)", "");
        if (d.contains("Type=Raft-")) d = d.replaceFirst("^ *\\[\\d+\\] ", "").replaceFirst("Type=Raft-\\w+, ", "")
            .replaceAll("(MetadataVersion=" + LATEST + "|(Broker|Controller)SecurityProtocol=PLAINTEXT|BrokerListenerName=ListenerName\\(EXTERNAL\\)|ControllerListenerName=ListenerName\\(CONTROLLER\\))(,|$)", "").replaceFirst(",$", "");
        d = d.replaceAll("@[0-9a-f]{5,8}\\b", "").replaceAll("\\b\\d{12,}\\b", "N").trim().replaceAll("\\s+", "_");
        if (!id.isTest() && !(id.getSource().orElse(null) instanceof MethodSource)) d = "class";
        String n = m + "[" + d + "]";
        int k = seen.merge(n, 1, Integer::sum);
        return k == 1 ? n : n + "#" + k;
    }
}
