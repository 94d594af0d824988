package kafka.server;

import com.typesafe.scalalogging.Logger;
import kafka.utils.Logging;
import kafka.utils.TestInfoUtils;
import conformance.ExternalCluster;
import conformance.HarnessBrokers;
import org.apache.kafka.clients.consumer.GroupProtocol;
import org.apache.kafka.common.security.auth.SecurityProtocol;
import org.apache.kafka.common.utils.Time;
import org.apache.kafka.metadata.storage.Formatter;
import org.apache.kafka.server.common.MetadataVersion;
import org.apache.kafka.server.fault.MockFaultHandler;
import org.junit.jupiter.api.*;
import org.junit.jupiter.params.provider.Arguments;
import org.slf4j.LoggerFactory;
import scala.Option;
import scala.collection.Seq;
import scala.jdk.javaapi.CollectionConverters;

import java.lang.reflect.Field;
import java.util.List;
import java.util.Properties;
import java.util.stream.Stream;

/** Replaces the base class of Kafka's Scala integration tests: there is no controller, and all brokers are one external process. */
@Tag("integration")
public abstract class QuorumTestHarness implements Logging {
    private final MockFaultHandler faultHandler = new MockFaultHandler("external");
    private final QuorumTestHarnessFaultHandlerFactory faultHandlerFactory = new QuorumTestHarnessFaultHandlerFactory(faultHandler);
    private final HarnessBrokers brokers = new HarnessBrokers();
    private final Logger logger = Logger.apply(LoggerFactory.getLogger(getClass()));
    private TestInfo testInfo;
    private QuorumImplementation implementation;
    private String logIdent = "";

    public static Stream<Arguments> getTestGroupProtocolParametersAll() {
        return QuorumTestHarness$.MODULE$.getTestGroupProtocolParametersAll();
    }

    public static Stream<Arguments> getTestGroupProtocolParametersClassicGroupProtocolOnly() {
        return QuorumTestHarness$.MODULE$.getTestGroupProtocolParametersClassicGroupProtocolOnly();
    }

    public static Stream<Arguments> getTestGroupProtocolParametersConsumerGroupProtocolOnly() {
        return QuorumTestHarness$.MODULE$.getTestGroupProtocolParametersConsumerGroupProtocolOnly();
    }

    public static void verifyNoUnexpectedThreads(String context) {
    }

    @BeforeAll
    public static void setUpClass() {
    }

    @AfterAll
    public static void tearDownClass() {
    }

    @Override
    public Logger logger() {
        return logger;
    }

    @Override
    public String logIdent() {
        return logIdent;
    }

    @Override
    public void logIdent_$eq(String ident) {
        logIdent = ident;
    }

    public SecurityProtocol controllerListenerSecurityProtocol() {
        return SecurityProtocol.PLAINTEXT;
    }

    public Seq<Properties> kraftControllerConfigs(TestInfo info) {
        return CollectionConverters.asScala(List.of(new Properties())).toSeq();
    }

    public MetadataVersion metadataVersion() {
        return MetadataVersion.latestTesting();
    }

    public QuorumImplementation implementation() {
        return implementation;
    }

    public void implementation_$eq(QuorumImplementation i) {
        implementation = i;
    }

    public Option<GroupProtocol> maybeGroupProtocolSpecified() {
        return TestInfoUtils.maybeGroupProtocolSpecified(testInfo);
    }

    public GroupProtocol groupProtocolFromTestParameters() {
        Option<GroupProtocol> p = maybeGroupProtocolSpecified();
        if (p.isEmpty()) throw new IllegalStateException("the test names no group protocol");
        return p.get();
    }

    public ControllerServer controllerServer() {
        throw ExternalCluster.abort("reaches into the controller");
    }

    public Seq<ControllerServer> controllerServers() {
        return CollectionConverters.asScala(List.<ControllerServer>of()).toSeq();
    }

    public QuorumTestHarnessFaultHandlerFactory faultHandlerFactory() {
        return faultHandlerFactory;
    }

    public MockFaultHandler faultHandler() {
        return faultHandler;
    }

    @BeforeEach
    public void setUp(TestInfo info) {
        testInfo = info;
        implementation = brokers;
        Formatter formatter = new Formatter();
        addFormatterSettings(formatter);
        brokers.begin(metadataVersion(), CollectionConverters.asJava(kraftControllerConfigs(info)), scramUsers(formatter));
    }

    @SuppressWarnings("unchecked")
    private static List<String> scramUsers(Formatter formatter) {
        try {
            Field arguments = Formatter.class.getDeclaredField("scramArguments");
            arguments.setAccessible(true);
            return (List<String>) arguments.get(formatter);
        } catch (ReflectiveOperationException e) {
            throw new IllegalStateException(e);
        }
    }

    public KafkaBroker createBroker(KafkaConfig config, Time time, boolean startup, Option<String> threads) {
        return brokers.createBroker(config, time, startup, threads);
    }

    public Time createBroker$default$2() {
        return Time.SYSTEM;
    }

    public boolean createBroker$default$3() {
        return true;
    }

    public Option<String> createBroker$default$4() {
        return Option.empty();
    }

    public void shutdownKRaftController() {
        throw ExternalCluster.abort("stops the controller");
    }

    public void addFormatterSettings(Formatter formatter) {
    }

    public Seq<SecurityProtocol> extraControllerSecurityProtocols() {
        return CollectionConverters.asScala(List.<SecurityProtocol>of()).toSeq();
    }

    public KRaftQuorumImplementation newKRaftQuorum(TestInfo info, Properties properties) {
        throw ExternalCluster.abort("makes a quorum of its own");
    }

    @AfterEach
    public void tearDown() {
        brokers.shutdown();
    }
}
