package conformance;

import net.bytebuddy.ByteBuddy;
import net.bytebuddy.description.type.TypeDescription;
import net.bytebuddy.dynamic.ClassFileLocator;
import net.bytebuddy.dynamic.DynamicType;
import net.bytebuddy.implementation.MethodDelegation;
import net.bytebuddy.implementation.StubMethod;
import net.bytebuddy.pool.TypePool;

import java.io.File;

import static net.bytebuddy.matcher.ElementMatchers.named;

/** Runs once when the shim is built. Changes Kafka's Scala test helpers: waiting for the controller does nothing, other questions go to an admin client (Answers). */
final class Patch {
    public static void main(String[] args) throws Exception {
        ClassFileLocator classes = ClassFileLocator.ForClassLoader.ofSystemLoader();
        TypePool pool = TypePool.Default.of(classes);
        File to = new File(args[0]);
        TypeDescription utils = pool.describe("kafka.utils.TestUtils$").resolve(), harness = pool.describe("kafka.integration.KafkaServerTestHarness").resolve();
        quiet(new ByteBuddy().redefine(utils, classes)).method(named("waitUntilLeaderIsKnown").or(named("awaitLeaderChange")).or(named("verifyTopicDeletion")).or(named("pickAuthorizerForWrite")))
            .intercept(MethodDelegation.to(Answers.class)).make().saveIn(to);
        quiet(new ByteBuddy().redefine(harness, classes)).method(named("getTopicIds").or(named("getTopicNames"))).intercept(MethodDelegation.to(Answers.class)).make().saveIn(to);
        // They are in the JVM of a broker.
        TypeDescription secured = pool.describe("kafka.api.EndToEndAuthorizationTest").resolve();
        new ByteBuddy().redefine(secured, classes).method(named("confirmReauthenticationMetrics")).intercept(StubMethod.INSTANCE).make().saveIn(to);
        TypeDescription groups = pool.describe("org.apache.kafka.clients.security.GroupAuthorizerIntegrationTest").resolve();
        new ByteBuddy().redefine(groups, classes).method(named("getAuthorizer")).intercept(MethodDelegation.to(Answers.OfClusters.class)).make().saveIn(to);
        TypeDescription coordinators = pool.describe("kafka.server.GroupCoordinatorBaseRequestTest").resolve();
        new ByteBuddy().redefine(coordinators, classes).method(named("getTopicIds")).intercept(MethodDelegation.to(Answers.OfCoordinators.class)).make().saveIn(to);
    }

    private static <T> DynamicType.Builder<T> quiet(DynamicType.Builder<T> b) {
        return b.method(named("ensureConsistentKRaftMetadata").or(named("waitUntilBrokerMetadataIsPropagated"))).intercept(StubMethod.INSTANCE);
    }
}
