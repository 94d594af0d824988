import java.io.BufferedReader;
import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.lang.reflect.Field;
import java.lang.reflect.InvocationTargetException;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Base64;
import java.util.List;
import java.util.Map;
import org.apache.kafka.common.utils.Exit;

/**
 * Runs the main classes of Kafka's command line tools one after the other in one JVM: a start of a JVM costs seconds.
 *
 * A request is one line of base64 fields separated by blanks: main class, standard input, seconds it may take,
 * arguments. The answer is one line: exit code (-1: did not end in time), standard output, standard error.
 */
public class ToolRunner {
    private static final Base64.Decoder DECODER = Base64.getDecoder();
    private static final Base64.Encoder ENCODER = Base64.getEncoder();

    /** What Exit.exit becomes: leaves the tool's main, not the JVM. */
    private static class ExitError extends Error {
        final int code;

        ExitError(int code) {
            super("exit " + code);
            this.code = code;
        }
    }

    public static void main(String[] ignored) throws Exception {
        PrintStream answers = System.out;
        BufferedReader requests = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        List<Runnable> hooks = new ArrayList<>();
        Exit.setShutdownHookAdder((name, runnable) -> hooks.add(runnable));
        for (String line = requests.readLine(); line != null; line = requests.readLine()) {
            String[] fields = line.split(" ", -1);
            String mainClass = text(fields[0]);
            byte[] input = DECODER.decode(fields[1]);
            long timeoutMs = Long.parseLong(text(fields[2])) * 1000;
            String[] arguments = new String[fields.length - 3];
            for (int i = 0; i < arguments.length; i++)
                arguments[i] = text(fields[i + 3]);
            ByteArrayOutputStream out = new ByteArrayOutputStream();
            ByteArrayOutputStream err = new ByteArrayOutputStream();
            System.setIn(new ByteArrayInputStream(input));
            System.setOut(new PrintStream(out, true, StandardCharsets.UTF_8));
            System.setErr(new PrintStream(err, true, StandardCharsets.UTF_8));
            int code = run(mainClass, arguments, timeoutMs, hooks);
            System.out.flush();
            System.err.flush();
            answers.println(code + " " + ENCODER.encodeToString(out.toByteArray()) + " "
                + ENCODER.encodeToString(err.toByteArray()));
            answers.flush();
        }
    }

    private static String text(String field) {
        return new String(DECODER.decode(field), StandardCharsets.UTF_8);
    }

    private static int run(String mainClass, String[] arguments, long timeoutMs, List<Runnable> hooks) throws Exception {
        int[] code = {0};
        boolean[] left = {false};
        Exit.Procedure leave = (status, message) -> {
            if (message != null)
                System.err.println(message);
            if (!left[0]) // a tool's own catch-all may see our Error and exit a second time
                code[0] = status;
            left[0] = true;
            throw new ExitError(status);
        };
        Exit.setExitProcedure(leave);
        Exit.setHaltProcedure(leave);
        Thread thread = new Thread(() -> {
            try {
                Class.forName(mainClass).getMethod("main", String[].class).invoke(null, (Object) arguments);
            } catch (InvocationTargetException e) {
                if (!left[0]) {
                    e.getCause().printStackTrace();
                    code[0] = 1;
                }
            } catch (Throwable e) {
                e.printStackTrace();
                code[0] = 1;
            }
        }, "tool");
        thread.start();
        thread.join(timeoutMs);
        boolean late = thread.isAlive();
        hooks.addAll(shutdownHooksOfJvm());
        for (Runnable hook : hooks) {
            Thread closer = new Thread(hook, "shutdown-hook");
            closer.setDaemon(true);
            closer.start();
            closer.join(10_000);
        }
        hooks.clear();
        if (late)
            thread.interrupt();
        thread.join(5_000);
        return late ? -1 : code[0];
    }

    /** Takes the hooks that a tool left for the end of the JVM (producers are closed there). */
    @SuppressWarnings("unchecked")
    private static List<Thread> shutdownHooksOfJvm() throws Exception {
        Field field = Class.forName("java.lang.ApplicationShutdownHooks").getDeclaredField("hooks");
        field.setAccessible(true); // the JVM is started with --add-opens java.base/java.lang=ALL-UNNAMED
        List<Thread> found = new ArrayList<>(((Map<Thread, Thread>) field.get(null)).keySet());
        for (Thread hook : found)
            Runtime.getRuntime().removeShutdownHook(hook);
        return found;
    }
}
