import java.io.*;
import java.nio.charset.StandardCharsets;
import java.util.*;
import org.apache.kafka.common.security.kerberos.*;

/** Reads lines `name<TAB>rule<TAB>rule...` and writes what Kafka makes of each; tests/security/kerberos_names.json has some. */
public class KerberosNames {
    public static void main(String[] ignored) throws Exception {
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        PrintStream out = new PrintStream(System.out, true, "UTF-8");
        for (String line = in.readLine(); line != null; line = in.readLine()) {
            String[] parts = line.split("\t", -1);
            out.println(answer(Arrays.asList(parts).subList(1, parts.length), parts[0]));
        }
    }

    private static String answer(List<String> rules, String name) {
        KerberosShortNamer namer;
        try {
            namer = KerberosShortNamer.fromUnparsedRules("R.EXAMPLE", rules);
        } catch (RuntimeException error) {
            return "rules\t" + String.valueOf(error.getMessage()).split("\n")[0];
        }
        try {
            return "name\t" + namer.shortName(KerberosName.parse(name));
        } catch (Exception error) {
            return "fails\t" + String.valueOf(error.getMessage()).split("\n")[0];
        }
    }
}
