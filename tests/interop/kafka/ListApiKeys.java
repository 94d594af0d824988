import org.apache.kafka.common.message.ApiMessageType.ListenerType;
import org.apache.kafka.common.protocol.ApiKeys;

/** Prints the APIs that a broker offers: key, name, oldest and latest stable version. */
public final class ListApiKeys {
    public static void main(String[] args) {
        for (ApiKeys api : ApiKeys.apisForListener(ListenerType.BROKER))
            if (api.latestVersion(false) >= api.oldestVersion())
                System.out.println(api.id + " " + api.name + " " + api.oldestVersion() + " " + api.latestVersion(false));
    }
}
