"""A sentence on every broker key from s to z; loaded only when somebody asks for it."""

from typing import Final

TEXTS: Final[dict[str, str]] = {
    "sasl.client.callback.handler.class": "Java class of SASL clients; not supported here.",
    "sasl.enabled.mechanisms": "SASL mechanisms offered to clients.",
    "sasl.jaas.config": "Login of the broker in JAAS form.",
    "sasl.kerberos.kinit.cmd": "Path of kinit.",
    "sasl.kerberos.min.time.before.relogin": "Shortest time between two Kerberos logins, in milliseconds.",
    "sasl.kerberos.principal.to.local.rules": "Rules that shorten Kerberos principals to user names.",
    "sasl.kerberos.service.name": "Kerberos service name of the broker.",
    "sasl.kerberos.ticket.renew.jitter": "Random share added to the time of renewal of a ticket.",
    "sasl.kerberos.ticket.renew.window.factor": "Share of a ticket's life after which it is renewed.",
    "sasl.login.callback.handler.class": "Java class that answers login questions; not supported here.",
    "sasl.login.class": "Java class of the login; not supported here.",
    "sasl.login.connect.timeout.ms": "Patience to connect to an identity provider.",
    "sasl.login.read.timeout.ms": "Patience for an identity provider's answer.",
    "sasl.login.refresh.buffer.seconds": "Time kept free before a credential ends when it is renewed.",
    "sasl.login.refresh.min.period.seconds": "Shortest time between two renewals of a credential.",
    "sasl.login.refresh.window.factor": "Share of a credential's life after which it is renewed.",
    "sasl.login.refresh.window.jitter": "Random share added to that time.",
    "sasl.login.retry.backoff.max.ms": "Longest pause between attempts to log in at an identity provider.",
    "sasl.login.retry.backoff.ms": "First pause between attempts to log in at an identity provider.",
    "sasl.mechanism.controller.protocol": "SASL mechanism towards KRaft controllers; without meaning here.",
    "sasl.mechanism.inter.broker.protocol": "SASL mechanism between brokers.",
    "sasl.oauthbearer.assertion.algorithm": "Algorithm that signs a client assertion.",
    "sasl.oauthbearer.assertion.claim.aud": "Audience claim of a client assertion.",
    "sasl.oauthbearer.assertion.claim.exp.seconds": "Life of a client assertion.",
    "sasl.oauthbearer.assertion.claim.iss": "Issuer claim of a client assertion.",
    "sasl.oauthbearer.assertion.claim.jti.include": "Whether a client assertion carries an id of its own.",
    "sasl.oauthbearer.assertion.claim.nbf.seconds": "How far a client assertion's begin lies in the past.",
    "sasl.oauthbearer.assertion.claim.sub": "Subject claim of a client assertion.",
    "sasl.oauthbearer.assertion.file": "File that holds a ready client assertion.",
    "sasl.oauthbearer.assertion.private.key.file": "File of the key that signs client assertions.",
    "sasl.oauthbearer.assertion.private.key.passphrase": "Passphrase of that key.",
    "sasl.oauthbearer.assertion.template.file": "File with further claims of a client assertion.",
    "sasl.oauthbearer.client.credentials.client.id": "Client id of the client credentials grant.",
    "sasl.oauthbearer.client.credentials.client.secret": "Client secret of the client credentials grant.",
    "sasl.oauthbearer.clock.skew.seconds": "Difference of clocks that is forgiven when a token is checked.",
    "sasl.oauthbearer.expected.audience": "Audiences of which a token has to name one.",
    "sasl.oauthbearer.expected.issuer": "Issuer that a token has to name.",
    "sasl.oauthbearer.jwks.endpoint.refresh.ms": "How often the issuer's keys are fetched.",
    "sasl.oauthbearer.jwks.endpoint.retry.backoff.max.ms": "Longest pause between attempts to fetch those keys.",
    "sasl.oauthbearer.jwks.endpoint.retry.backoff.ms": "First pause between attempts to fetch those keys.",
    "sasl.oauthbearer.jwks.endpoint.url": "Where the issuer's keys are.",
    "sasl.oauthbearer.jwt.retriever.class": "Java class that gets tokens; not supported here.",
    "sasl.oauthbearer.jwt.validator.class": "Java class that checks tokens; not supported here.",
    "sasl.oauthbearer.scope": "Scope asked for when a token is fetched.",
    "sasl.oauthbearer.scope.claim.name": "Claim of a token that holds its scope.",
    "sasl.oauthbearer.sub.claim.name": "Claim of a token that holds the user.",
    "sasl.oauthbearer.token.endpoint.url": "Where tokens are issued.",
    "sasl.server.callback.handler.class": "Java class that checks SASL credentials; not supported here.",
    "sasl.server.max.receive.size": "Largest SASL message from a client, in bytes.",
    "security.inter.broker.protocol": (
        "Security protocol between brokers; names the listener when inter.broker.listener.name is unset."
    ),
    "security.providers": "Java security providers; not supported here.",
    "share.coordinator.append.linger.ms": "How long the share coordinator gathers writes; -1 adapts to the load.",
    "share.coordinator.cached.buffer.max.bytes": "Largest write buffer that the share coordinator keeps for reuse.",
    "share.coordinator.load.buffer.size": "Bytes read at once when share state is loaded.",
    "share.coordinator.snapshot.update.records.per.snapshot": (
        "Updates after which the share state is written as a whole."
    ),
    "share.coordinator.state.topic.compression.codec": (
        "Codec of the share state topic by number, as offsets.topic.compression.codec."
    ),
    "share.coordinator.state.topic.min.isr": (
        "Replicas in sync that the share state topic asks for, at most those that live."
    ),
    "share.coordinator.state.topic.num.partitions": "Partitions of the share state topic; not to be changed later.",
    "share.coordinator.state.topic.replication.factor": (
        "Replicas of the share state topic, at most the number of brokers that live."
    ),
    "share.coordinator.state.topic.segment.bytes": "Segment size of the share state topic.",
    "share.coordinator.threads": "Threads of Kafka's share coordinator.",
    "share.coordinator.write.timeout.ms": "Patience for the replication of share state.",
    "share.fetch.purgatory.purge.interval.requests": (
        "Kafka's tidying interval of waiting share fetches; without meaning here."
    ),
    "socket.connection.setup.timeout.max.ms": "Longest patience for a connection to another broker.",
    "socket.connection.setup.timeout.ms": "First patience for a connection to another broker.",
    "socket.listen.backlog.size": "Connections that may wait to be accepted; where it is not set, 1024.",
    "socket.receive.buffer.bytes": (
        "Receive buffer of a client's socket; -1, or where it is not set, leaves it to the system, which lets it grow."
    ),
    "socket.request.max.bytes": "Largest request; a longer frame closes its connection.",
    "socket.send.buffer.bytes": (
        "Send buffer of a client's socket; -1 leaves it to the system, which lets it grow. More carries more over a long "
        "line; over a short one it costs the broker CPU time (docs/benchmarks.md)."
    ),
    "ssl.allow.dn.changes": "Whether a new certificate may bear another distinguished name.",
    "ssl.allow.san.changes": "Whether a new certificate may lack alternative names of the old one.",
    "ssl.cipher.suites": "Cipher suites; empty means the library's choice.",
    "ssl.client.auth": "Whether clients have to, may, or need not show a certificate.",
    "ssl.enabled.protocols": "TLS versions that are spoken.",
    "ssl.endpoint.identification.algorithm": (
        "How the name in a server's certificate is checked; empty means not at all."
    ),
    "ssl.engine.factory.class": "Java class that makes TLS engines; not supported here.",
    "ssl.key.password": "Password of the private key.",
    "ssl.keymanager.algorithm": "Java's key manager; without meaning here.",
    "ssl.keystore.certificate.chain": "Certificate chain as PEM text.",
    "ssl.keystore.key": "Private key as PEM text.",
    "ssl.keystore.location": "File with the broker's key and certificates.",
    "ssl.keystore.password": "Password of that file.",
    "ssl.keystore.type": "Format of that file.",
    "ssl.principal.mapping.rules": "Rules that turn distinguished names into user names.",
    "ssl.protocol": "Newest TLS version.",
    "ssl.provider": "Java's security provider; without meaning here.",
    "ssl.secure.random.implementation": "Java's source of randomness; without meaning here.",
    "ssl.trustmanager.algorithm": "Java's trust manager; without meaning here.",
    "ssl.truststore.certificates": "Certificates that are trusted, as PEM text.",
    "ssl.truststore.location": "File with the certificates that are trusted.",
    "ssl.truststore.password": "Password of that file.",
    "ssl.truststore.type": "Format of that file.",
    "telemetry.max.bytes": "Largest message of client metrics.",
    "transaction.abort.timed.out.transaction.cleanup.interval.ms": (
        "How often transactions that ran out of time are aborted."
    ),
    "transaction.max.timeout.ms": "Longest time that a transaction may ask for.",
    "transaction.partition.verification.enable": (
        "Whether a partition asks the coordinator before it takes a transactional write."
    ),
    "transaction.remove.expired.transaction.cleanup.interval.ms": "How often unused transactional ids are removed.",
    "transaction.state.log.load.buffer.size": "Bytes read at once when transactions are loaded.",
    "transaction.state.log.min.isr": "Replicas in sync that the transaction topic asks for, at most those that live.",
    "transaction.state.log.num.partitions": "Partitions of the transaction topic; not to be changed later.",
    "transaction.state.log.replication.factor": (
        "Replicas of the transaction topic, at most the number of brokers that live."
    ),
    "transaction.state.log.segment.bytes": "Segment size of the transaction topic.",
    "transaction.two.phase.commit.enable": "Whether transactions may take part in a two-phase commit of the client.",
    "transactional.id.expiration.ms": "How long an unused transactional id is remembered.",
    "unclean.leader.election.enable": (
        "Whether a replica that is not in sync may lead when no other lives, at the price of lost records."
    ),
    "kafkacy.connection.max.in.flight.requests": (
        "Requests of one connection that are worked on at once; more wait in the socket."
    ),
    "kafkacy.lag.listen": (
        "Address of the page with consumer lag, host:port; empty switches it off, port 0 takes any free port."
    ),
    "kafkacy.lag.names": "Exporters under whose metric names consumer lag is shown.",
    "kafkacy.metrics.listen": (
        "Address of the /metrics page, host:port; empty switches it off, port 0 takes any free port."
    ),
    "kafkacy.metrics.persec.enable": (
        "Shows counters on /metrics under the names ending in persec, too (Confluent's and Grafana's rules for Kafka)."
    ),
    "kafkacy.otel.endpoint": (
        "OTLP endpoint of an OpenTelemetry collector, such as http://localhost:4318; empty: OTEL_EXPORTER_OTLP_ENDPOINT "
        "of the environment, and without that nothing is exported."
    ),
    "kafkacy.otel.metrics.interval.ms": (
        "How often metrics are exported; unset: OTEL_METRIC_EXPORT_INTERVAL, else 60000."
    ),
    "kafkacy.otel.protocol": "How OTLP is spoken; empty: OTEL_EXPORTER_OTLP_PROTOCOL, else http/protobuf.",
    "kafkacy.otel.signals": "What is exported.",
    "kafkacy.otel.traces.per.second.max": "Requests that are traced in a second at most.",
    "kafkacy.otel.traces.sampling.ratio": (
        "Share of requests that are traced; unset: OTEL_TRACES_SAMPLER_ARG, else 0.01. Batches whose first record has a "
        "sampled traceparent are traced beside that."
    ),
    "kafkacy.queued.max.response.bytes": (
        "Memory for answers that slow clients have not read; above it their requests are not read."
    ),
    "kafkacy.shutdown.drain.timeout.ms": "How long a stopping broker waits for requests that it has begun to work on.",
    "kafkacy.slow.request.log.threshold.ms": (
        "Requests that take as long are logged with where their time went, at most five a second and reactor; -1: none."
    ),
    "leader.replication.throttled.rate": "Most bytes in a second that throttled replicas read from this leader.",
    "follower.replication.throttled.rate": "Most bytes in a second that throttled replicas on this broker fetch.",
    "replica.alter.log.dirs.io.max.bytes.per.second": "Most bytes in a second for moves between log directories.",
}
