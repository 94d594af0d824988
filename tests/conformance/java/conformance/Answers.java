package conformance;

import org.apache.kafka.clients.admin.ListTopicsOptions;
import org.apache.kafka.clients.admin.OffsetSpec;
import org.apache.kafka.clients.admin.TopicListing;
import org.apache.kafka.common.Node;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.TopicPartitionInfo;
import org.apache.kafka.common.Uuid;
import org.apache.kafka.common.test.ClusterInstance;
import org.apache.kafka.server.authorizer.Authorizer;
import scala.Option;
import scala.collection.Seq;
import scala.collection.immutable.Map;
import scala.jdk.javaapi.CollectionConverters;

import java.util.Collection;
import java.util.HashMap;
import java.util.List;
import java.util.concurrent.Callable;
import java.util.concurrent.TimeUnit;

/** Replacements for helpers of Kafka's Scala tests that look into the controller or the broker: an admin client gives the same answers. Patch installs them. */
public final class Answers {
    private static BrokerProcess broker() {
        BrokerProcess b = HarnessBrokers.current != null ? HarnessBrokers.current : ExternalCluster.current;
        if (b == null) throw ExternalCluster.abort("needs a broker that this test did not start");
        return b;
    }

    private static Collection<TopicListing> topics() {
        return broker().with(a -> a.listTopics(new ListTopicsOptions().listInternal(true)).listings().get(30, TimeUnit.SECONDS));
    }

    private static <K, V> Map<K, V> scala(java.util.Map<K, V> m) {
        return scala.collection.immutable.Map$.MODULE$.from(CollectionConverters.asScala(m));
    }

    public static Authorizer pickAuthorizerForWrite(Seq<?> brokers, Seq<?> controllers) {
        return broker().authorizer();
    }

    public static Map<String, Uuid> getTopicIds() {
        java.util.Map<String, Uuid> m = new HashMap<>();
        topics().forEach(t -> m.put(t.name(), t.topicId()));
        return scala(m);
    }

    public static Map<String, Uuid> getTopicIds(Seq<String> names) {
        Collection<String> wanted = CollectionConverters.asJava(names);
        java.util.Map<String, Uuid> m = new HashMap<>();
        topics().stream().filter(t -> wanted.contains(t.name())).forEach(t -> m.put(t.name(), t.topicId()));
        return scala(m);
    }

    public static Map<Uuid, String> getTopicNames() {
        java.util.Map<Uuid, String> m = new HashMap<>();
        topics().forEach(t -> m.put(t.topicId(), t.name()));
        return scala(m);
    }

    private static <T> T await(Callable<T> what, long ms, String failure) {
        long end = System.currentTimeMillis() + ms;
        while (true) {
            Exception last = null;
            try {
                T t = what.call();
                if (t != null) return t;
            } catch (Exception e) {
                last = e;
            }
            if (System.currentTimeMillis() > end) throw new AssertionError(failure, last);
            try {
                Thread.sleep(50);
            } catch (InterruptedException e) {
                throw new IllegalStateException(e);
            }
        }
    }

    private static Integer leader(TopicPartition tp) {
        return broker().with(a -> a.describeTopics(List.of(tp.topic())).allTopicNames().get(30, TimeUnit.SECONDS)).get(tp.topic()).partitions().stream()
            .filter(p -> p.partition() == tp.partition()).map(TopicPartitionInfo::leader).filter(n -> n != null && !n.isEmpty()).map(Node::id).findFirst().orElse(null);
    }

    public static int waitUntilLeaderIsKnown(Seq<?> brokers, TopicPartition tp, long ms) {
        return await(() -> leader(tp), ms, tp + " has no leader");
    }

    public static int awaitLeaderChange(Seq<?> brokers, TopicPartition tp, Option<Object> old, Option<Object> expected, long ms) {
        return await(() -> {
            Integer l = leader(tp);
            return l == null || expected.isDefined() && !l.equals(expected.get()) || old.isDefined() && l.equals(old.get()) ? null : l;
        }, ms, tp + " did not get another leader");
    }

    public static void verifyTopicDeletion(String topic, int partitions, Seq<?> brokers) {
        await(() -> topics().stream().anyMatch(t -> t.name().equals(topic)) ? null : true, 60_000, topic + " was not deleted");
    }

    /** For GroupAuthorizerIntegrationTest. */
    public static final class OfClusters {
        public static Authorizer getAuthorizer(ClusterInstance cluster) {
            return broker().authorizer();
        }
    }

    /** The same for GroupCoordinatorBaseRequestTest, which wants a Java map. */
    public static final class OfCoordinators {
        public static java.util.Map<String, Uuid> getTopicIds() {
            java.util.Map<String, Uuid> m = new HashMap<>();
            topics().forEach(t -> m.put(t.name(), t.topicId()));
            return m;
        }
    }
}
