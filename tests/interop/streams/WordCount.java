import java.util.Arrays;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.kstream.Grouped;
import org.apache.kafka.streams.kstream.Materialized;
import org.apache.kafka.streams.kstream.Produced;

/**
 * Counts words: INPUT -> words -> a repartition topic -> a store with a changelog -> OUTPUT (word -> count as text).
 *
 * Arguments: INPUT OUTPUT name=value..., where the pairs are settings of Kafka Streams.
 */
public class WordCount {
    public static void main(String[] arguments) throws Exception {
        StreamsBuilder builder = new StreamsBuilder();
        builder.<String, String>stream(arguments[0])
            .flatMapValues(line -> Arrays.asList(line.split(" ")))
            .groupBy((key, word) -> word, Grouped.as("words"))
            .count(Materialized.as("counts"))
            .toStream()
            .mapValues(count -> Long.toString(count))
            .to(arguments[1], Produced.with(Serdes.String(), Serdes.String()));
        StreamsRunner.run(builder, StreamsRunner.settings(arguments, 2));
    }
}
