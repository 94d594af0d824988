import java.time.Duration;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.kstream.Grouped;
import org.apache.kafka.streams.kstream.JoinWindows;
import org.apache.kafka.streams.kstream.KStream;
import org.apache.kafka.streams.kstream.KTable;
import org.apache.kafka.streams.kstream.Produced;
import org.apache.kafka.streams.kstream.TimeWindows;

/**
 * ORDERS (order -> customer) and PAYMENTS (order -> amount) are joined within a minute: PAID (order -> "customer amount").
 * ORDERS and the table CUSTOMERS (customer -> region) are joined and counted by region in windows of ten seconds:
 * REGIONS ("region@start of the window" -> count).
 *
 * Arguments: ORDERS PAYMENTS CUSTOMERS PAID REGIONS name=value..., where the pairs are settings of Kafka Streams.
 */
public class JoinsAndWindows {
    /** So long that nothing is too late: after a restart, tasks begin at different times. */
    private static final Duration GRACE = Duration.ofHours(1);

    public static void main(String[] arguments) throws Exception {
        StreamsBuilder builder = new StreamsBuilder();
        KStream<String, String> orders = builder.stream(arguments[0]);
        KStream<String, String> payments = builder.stream(arguments[1]);
        KTable<String, String> customers = builder.table(arguments[2]);
        orders.join(payments, (customer, amount) -> customer + " " + amount,
                JoinWindows.ofTimeDifferenceAndGrace(Duration.ofMinutes(1), GRACE))
            .to(arguments[3]);
        orders.selectKey((order, customer) -> customer)
            .join(customers, (customer, region) -> region)
            .groupBy((customer, region) -> region, Grouped.as("regions"))
            .windowedBy(TimeWindows.ofSizeAndGrace(Duration.ofSeconds(10), GRACE))
            .count()
            .toStream((window, count) -> window.key() + "@" + window.window().start())
            .mapValues(count -> Long.toString(count))
            .to(arguments[4], Produced.with(Serdes.String(), Serdes.String()));
        StreamsRunner.run(builder, StreamsRunner.settings(arguments, 5));
    }
}
