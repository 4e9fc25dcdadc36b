import KafkaClient
import ServiceSupport

extension Doctor {
    /// The way to the brokers: one look at each server, and a check for each thing that can be in the way.
    static let kafkaChecks = [
        obstacle(
            "kafka-name", "The brokers' names are known to DNS", [.name],
            Mistake(
                "unknown-name", .unreachable, sees: "`Failed to resolve '…': Name or service not known`",
                means: "the host of <server> has no address here",
                mend: "correct kafka.bootstrapServers, or the name servers of this host: getent hosts <host>")),
        obstacle(
            "kafka-port", "The brokers' ports are open", [.port],
            Mistake(
                "refused", .unreachable, sees: "`Connect to … failed: Connection refused`",
                means: "nothing listens on <server>, or a firewall refuses",
                mend: "correct the port in kafka.bootstrapServers, start the broker, or open the firewall for <server>")
        ),
        obstacle(
            "kafka-silence", "The brokers answer", [.silence],
            Mistake(
                "no-answer", .unreachable,
                sees: "`Timed out ApiVersionRequest in flight`, `Connection setup timed out`",
                means:
                    "the connection to <server> is swallowed, or taken and not answered. The hint of librdkafka at an old broker version is wrong here",
                mend: "look for a firewall, a proxy or a load balancer without a broker behind it: nc -vz <host> <port>"
            )),
        obstacle(
            "kafka-tls-port", "A port with TLS is used with TLS", [.tlsPort],
            Mistake(
                "tls-needed", .failure,
                sees:
                    "`Disconnected while requesting ApiVersion: … connecting to a SSL listener?`, or a TLS alert as the size of an answer (`Invalid response size 352518912`)",
                means: "<server> speaks TLS, and this client does not",
                mend: "set security.protocol=SSL, or SASL_SSL with SASL, in BECKON_KAFKA_PROPERTIES")),
        obstacle(
            "kafka-plain-port", "A port without TLS is used without TLS", [.plainPort],
            Mistake(
                "tls-not-spoken", .failure,
                sees: "`SSL handshake failed: Disconnected: connecting to a PLAINTEXT broker listener?`",
                means: "this client speaks TLS, and <server> does not",
                mend:
                    "use the brokers' TLS port in kafka.bootstrapServers; if they have none, set security.protocol=PLAINTEXT or SASL_PLAINTEXT"
            )),
        obstacle(
            "kafka-protocol", "What answers is Kafka", [.notKafka],
            Mistake(
                "not-kafka", .failure,
                sees: "`Invalid response size 1213486160` (the letters HTTP), or with TLS `wrong version number`",
                means: "another service or a proxy answers at <server>",
                mend: "correct host and port in kafka.bootstrapServers, or take the proxy out of the way")),
        certificateCheck,
        obstacle(
            "kafka-sasl-mechanism", "The brokers offer the SASL mechanism", [.mechanism, .scram],
            Mistake(
                "mechanism", .failure,
                sees:
                    "`Unsupported SASL mechanism: broker's supported mechanisms: …`, or the brokers want SASL and get none",
                means: "the client and <server> have no SASL mechanism in common",
                mend:
                    "set sasl.mechanisms in BECKON_KAFKA_PROPERTIES to one that the text lists, and security.protocol to SASL_SSL. SCRAM with Kafka 4 needs librdkafka 2.6.1 or later"
            )),
        obstacle(
            "kafka-sasl-password", "The brokers accept user and password", [.password],
            Mistake(
                "password", .failure, sees: "`SASL authentication error: … Invalid username or password`",
                means: "<server> does not accept sasl.username and sasl.password",
                mend: "correct sasl.username and sasl.password in BECKON_KAFKA_PROPERTIES")),
        advertisedCheck,
    ]

    /// Judges the servers; a broker that only the servers name is the subject of `kafka-advertised`.
    private static func obstacle(
        _ id: String, _ title: String, _ obstacles: Set<KafkaObstacle>, _ mistake: Mistake
    ) -> Check {
        Check(id, title, roles: Role.workers, looks: [.kafka], mistakes: [mistake]) { facts in
            withServers(facts) { servers in
                let findings = servers.filter { $0.obstacle.map(obstacles.contains) ?? false }.map {
                    mistake.found(said($0), values($0.address))
                }
                return judged(findings, servers)
            }
        }
    }

    /// A server behind another obstacle says nothing about this one.
    private static func judged(_ findings: [Finding], _ servers: [KafkaReach]) -> Verdict {
        guard findings.isEmpty else { return .found(findings) }
        let well = servers.filter { $0.obstacle == nil }
        guard !well.isEmpty else { return .skipped("the servers are not reached for another reason") }
        return .passed(well.map(\.address).joined(separator: ", "))
    }

    private static func withServers(_ facts: Facts, _ judge: ([KafkaReach]) -> Verdict) -> Verdict {
        switch facts.kafka {
        case .not(let because): return .skipped(because)
        case .seen(let kafka):
            guard !kafka.servers.contains(where: \.isMisconfigured) else {
                return .skipped("a Kafka property is refused (configuration)")
            }
            return judge(kafka.servers)
        }
    }

    /// A log line names the server by itself.
    private static func said(_ reach: KafkaReach) -> String {
        reach.said.contains(reach.address) ? reach.said : "\(reach.address): \(reach.said)"
    }

    private static func values(_ address: String) -> [String: String] {
        let colon = address.lastIndex(of: ":") ?? address.endIndex
        return [
            "server": address, "host": String(address[..<colon]),
            "port": String(address[colon...].dropFirst()),
        ]
    }

    // MARK: Certificates

    private static let brokerCertificate = Mistake(
        "broker-certificate", .failure,
        sees: "`certificate verify failed`; a handshake of our own says which fault it is",
        means:
            "the certificate of <server> is not trusted: its authority is unknown, its name is another one, or it has expired",
        mend:
            "unknown authority: set ssl.ca.location to the PEM file of the brokers' authority. Another name: use the name on the certificate in kafka.bootstrapServers. Expired: renew it on the broker"
    )
    private static let clientCertificate = Mistake(
        "client-certificate", .failure, sees: "the broker ends the TLS handshake with an alert",
        means: "<server> wants a client certificate, and gets none that it accepts",
        mend: "set ssl.certificate.location and ssl.key.location in BECKON_KAFKA_PROPERTIES")

    private static let certificateCheck = Check(
        "kafka-certificate", "The brokers' certificates are good, and ours are accepted", roles: Role.workers,
        looks: [.kafka], mistakes: [brokerCertificate, clientCertificate]
    ) { facts in
        withServers(facts) { servers in
            let own = facts.kafka.value?.certificates ?? []
            let findings = servers.compactMap { server -> Finding? in
                switch server.obstacle {
                case .certificate:
                    let said = own.first { $0.address == server.address }?.said ?? server.said
                    return brokerCertificate.found("\(server.address): \(said)", values(server.address))
                case .clientCertificate:
                    return clientCertificate.found(said(server), values(server.address))
                default: return nil
                }
            }
            return judged(findings, servers)
        }
    }

    // MARK: Advertised listeners

    private static let unreachedBroker = Mistake(
        "advertised-listener", .unreachable, sees: "a server answers, and a broker that it names cannot be reached",
        means: "the brokers send their clients to <server> (advertised.listeners), which does not work from here",
        mend:
            "set advertised.listeners of the broker to a name and port that this network reaches, or use the listener of this network in kafka.bootstrapServers"
    )

    private static let advertisedCheck = Check(
        "kafka-advertised", "Every broker is reached at the address that it advertises", roles: Role.workers,
        looks: [.kafka], mistakes: [unreachedBroker]
    ) { facts in
        guard let kafka = facts.kafka.value, kafka.isReached else { return .skipped("no connection to Kafka") }
        let findings = kafka.advertised.filter { $0.obstacle != nil }.map {
            unreachedBroker.found(said($0), values($0.address))
        }
        let brokers = Set((kafka.servers + kafka.advertised).flatMap(\.brokers.keys)).count
        return .judged(findings, else: brokers == 1 ? "1 broker" : "\(brokers) brokers")
    }
}
