package conformance;

import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.DeleteAclsResult.FilterResults;
import org.apache.kafka.common.Endpoint;
import org.apache.kafka.common.KafkaFuture;
import org.apache.kafka.common.acl.*;
import org.apache.kafka.common.errors.ApiException;
import org.apache.kafka.common.internals.Plugin;
import org.apache.kafka.server.authorizer.*;

import java.util.*;
import java.util.concurrent.*;

/** What tests take for the broker's authorizer: its ACLs, through an admin client. */
final class ExternalAuthorizer implements Authorizer {
    private final BrokerProcess broker;
    private Admin admin;

    ExternalAuthorizer(BrokerProcess broker) {
        this.broker = broker;
    }

    Plugin<Authorizer> plugin() {
        return Plugin.wrapInstance(this, null, "authorizer.class.name");
    }

    private synchronized Admin admin() {
        if (admin == null) admin = broker.admin();
        return admin;
    }

    /** Tests with principals of another type than User log in as users. */
    private AclBinding sent(AclBinding acl) {
        return renamed(acl, broker.principalType() + ":", "User:");
    }

    private AclBinding seen(AclBinding acl) {
        return renamed(acl, "User:", broker.principalType() + ":");
    }

    private static AclBinding renamed(AclBinding acl, String from, String to) {
        AccessControlEntry entry = acl.entry();
        if (from.equals(to) || !entry.principal().startsWith(from)) return acl;
        return new AclBinding(acl.pattern(), new AccessControlEntry(to + entry.principal().substring(from.length()), entry.host(), entry.operation(), entry.permissionType()));
    }

    private AclBindingFilter sent(AclBindingFilter filter) {
        AccessControlEntryFilter entry = filter.entryFilter();
        String from = broker.principalType() + ":", principal = entry.principal();
        if (principal == null || !principal.startsWith(from)) return filter;
        return new AclBindingFilter(filter.patternFilter(), new AccessControlEntryFilter("User:" + principal.substring(from.length()), entry.host(), entry.operation(), entry.permissionType()));
    }

    private static <T> T get(KafkaFuture<T> future) {
        try {
            return future.get(30, TimeUnit.SECONDS);
        } catch (ExecutionException e) {
            throw e.getCause() instanceof ApiException a ? a : new IllegalStateException(e);
        } catch (InterruptedException | TimeoutException e) {
            throw new IllegalStateException(e);
        }
    }

    @Override
    public List<? extends CompletionStage<AclCreateResult>> createAcls(AuthorizableRequestContext context, List<AclBinding> bindings) {
        Map<AclBinding, KafkaFuture<Void>> created = admin().createAcls(bindings.stream().map(this::sent).toList()).values();
        return bindings.stream().map(each -> {
            try {
                get(created.get(sent(each)));
                return CompletableFuture.completedFuture(AclCreateResult.SUCCESS);
            } catch (ApiException e) {
                return CompletableFuture.completedFuture(new AclCreateResult(e));
            }
        }).toList();
    }

    @Override
    public List<? extends CompletionStage<AclDeleteResult>> deleteAcls(AuthorizableRequestContext context, List<AclBindingFilter> filters) {
        Map<AclBindingFilter, KafkaFuture<FilterResults>> deleted = admin().deleteAcls(filters.stream().map(this::sent).toList()).values();
        return filters.stream().map(each -> {
            try {
                return CompletableFuture.completedFuture(new AclDeleteResult(get(deleted.get(sent(each))).values().stream()
                    .map(result -> new AclDeleteResult.AclBindingDeleteResult(seen(result.binding()), result.exception())).toList()));
            } catch (ApiException e) {
                return CompletableFuture.completedFuture(new AclDeleteResult(e));
            }
        }).toList();
    }

    @Override
    public Iterable<AclBinding> acls(AclBindingFilter filter) {
        return get(admin().describeAcls(sent(filter)).values()).stream().map(this::seen).toList();
    }

    @Override
    public Map<Endpoint, ? extends CompletionStage<Void>> start(AuthorizerServerInfo info) {
        throw ExternalCluster.abort("reaches into the broker: authorizer.start");
    }

    @Override
    public List<AuthorizationResult> authorize(AuthorizableRequestContext context, List<Action> actions) {
        throw ExternalCluster.abort("reaches into the broker: authorizer.authorize");
    }

    @Override
    public void configure(Map<String, ?> configs) {
        // the broker has its own configuration
    }

    @Override
    public synchronized void close() {
        if (admin != null) admin.close();
        admin = null;
    }
}
