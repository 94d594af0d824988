import java.nio.file.Files;
import java.nio.file.Path;
import java.util.HashMap;
import java.util.Map;
import java.util.concurrent.CountDownLatch;
import org.apache.flink.api.common.eventtime.WatermarkStrategy;
import org.apache.flink.api.common.functions.RichMapFunction;
import org.apache.flink.api.common.serialization.SimpleStringSchema;
import org.apache.flink.configuration.Configuration;
import org.apache.flink.connector.base.DeliveryGuarantee;
import org.apache.flink.connector.kafka.sink.KafkaRecordSerializationSchema;
import org.apache.flink.connector.kafka.sink.KafkaSink;
import org.apache.flink.connector.kafka.sink.TransactionNamingStrategy;
import org.apache.flink.connector.kafka.source.KafkaSource;
import org.apache.flink.connector.kafka.source.enumerator.initializer.OffsetsInitializer;
import org.apache.flink.runtime.state.FunctionInitializationContext;
import org.apache.flink.runtime.state.FunctionSnapshotContext;
import org.apache.flink.streaming.api.checkpoint.CheckpointedFunction;
import org.apache.flink.streaming.api.environment.StreamExecutionEnvironment;

/**
 * Copies a topic to another one with Flink's exactly-once sink, on a cluster inside this JVM, until it is killed or fails.
 * Arguments: bootstrap servers, input topic, output topic, naming strategy of transactions, parallelism, a file (see Hold),
 * and Flink's settings (name=value).
 */
class CopyExactlyOnce {
    /**
     * While the file exists, no record passes after the next checkpoint: the task's thread waits, so that the checkpoint becomes complete
     * and the sink never hears of it. FILE-SUBTASK-CHECKPOINT tells that the thread waits.
     */
    static class Hold extends RichMapFunction<String, String> implements CheckpointedFunction {
        private final String path;
        private long held = -1;

        Hold(String path) {
            this.path = path;
        }

        @Override
        public String map(String value) throws Exception {
            if (held >= 0) {
                int subtask = getRuntimeContext().getTaskInfo().getIndexOfThisSubtask();
                Files.createFile(Path.of(path + "-" + subtask + "-" + held));
                new CountDownLatch(1).await(); // for the kill
            }
            if (Files.exists(Path.of(path))) {
                Thread.sleep(1); // so that another record is there after the checkpoint
            }
            return value;
        }

        @Override
        public void snapshotState(FunctionSnapshotContext context) {
            if (Files.exists(Path.of(path))) {
                held = context.getCheckpointId();
            }
        }

        @Override
        public void initializeState(FunctionInitializationContext context) {
            // no state
        }
    }

    public static void main(String[] arguments) throws Exception {
        String bootstrap = arguments[0], input = arguments[1], output = arguments[2];
        Map<String, String> settings = new HashMap<>();
        for (int i = 6; i < arguments.length; i++) {
            String[] pair = arguments[i].split("=", 2);
            settings.put(pair[0], pair[1]);
        }
        StreamExecutionEnvironment environment =
            StreamExecutionEnvironment.createLocalEnvironment(Integer.parseInt(arguments[4]), Configuration.fromMap(settings));
        KafkaSource<String> source = KafkaSource.<String>builder()
            .setBootstrapServers(bootstrap)
            .setTopics(input)
            .setGroupId("flink")
            .setStartingOffsets(OffsetsInitializer.earliest())
            .setValueOnlyDeserializer(new SimpleStringSchema())
            .build();
        KafkaSink<String> sink = KafkaSink.<String>builder()
            .setBootstrapServers(bootstrap)
            .setRecordSerializer(KafkaRecordSerializationSchema.<String>builder()
                .setTopic(output)
                .setValueSerializationSchema(new SimpleStringSchema())
                .build())
            .setDeliveryGuarantee(DeliveryGuarantee.EXACTLY_ONCE)
            .setTransactionalIdPrefix("flink-copy")
            .setTransactionNamingStrategy(TransactionNamingStrategy.valueOf(arguments[3]))
            // Flink's default is an hour, and the broker allows a quarter of one (transaction.max.timeout.ms).
            .setProperty("transaction.timeout.ms", "600000")
            .build();
        environment.fromSource(source, WatermarkStrategy.noWatermarks(), "input").uid("input")
            .map(new Hold(arguments[5])).uid("hold").sinkTo(sink).uid("output");
        environment.execute("copy");
    }
}
