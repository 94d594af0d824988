import java.io.BufferedReader;
import java.io.InputStream;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.Base64;
import java.util.zip.CRC32;
import org.apache.kafka.common.compress.Compression;
import org.apache.kafka.common.record.internal.CompressionType;
import org.apache.kafka.common.record.internal.RecordBatch;
import org.apache.kafka.common.utils.BufferSupplier;

/**
 * Reads compressed streams with the classes that Kafka's consumer and broker read batches with.
 *
 * A request is one line: the codec's number, a blank, the stream in base64. The response is one line: the size of what
 * it decompresses to, a blank, the CRC-32 of it; or "refused", a blank, and the error.
 */
public class CodecReader {
    public static void main(String[] ignored) throws Exception {
        PrintStream answers = System.out;
        BufferedReader requests = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.US_ASCII));
        for (String line = requests.readLine(); line != null; line = requests.readLine()) {
            String[] fields = line.split(" ", -1);
            byte[] stream = Base64.getDecoder().decode(fields[1]);
            answers.println(read(CompressionType.forId(Integer.parseInt(fields[0])), stream));
            answers.flush();
        }
    }

    private static String read(CompressionType type, byte[] stream) {
        CRC32 crc = new CRC32();
        byte[] part = new byte[4096];
        long size = 0;
        int idle = 0;
        try (InputStream in = Compression.of(type).build().wrapForInput(
                ByteBuffer.wrap(stream), RecordBatch.MAGIC_VALUE_V2, BufferSupplier.NO_CACHING)) {
            for (int n = in.read(part); n >= 0; n = in.read(part)) {
                crc.update(part, 0, n);
                size += n;
                idle = n == 0 ? idle + 1 : 0;
                if (idle > 1000)
                    return "refused without progress";
            }
        } catch (Throwable refused) {
            return "refused " + refused;
        }
        return size + " " + crc.getValue();
    }
}
