// swift-tools-version: 6.2
import PackageDescription

let swiftSettings: [SwiftSetting] = [
    .enableUpcomingFeature("ExistentialAny"),
    .enableUpcomingFeature("MemberImportVisibility"),
    .enableUpcomingFeature("InternalImportsByDefault"),
    .enableUpcomingFeature("NonisolatedNonsendingByDefault"),
]

extension Target.Dependency {
    static let argumentParser = product(name: "ArgumentParser", package: "swift-argument-parser")
    static let asyncHTTPClient = product(name: "AsyncHTTPClient", package: "async-http-client")
    static let configuration = product(name: "Configuration", package: "swift-configuration")
    static let crypto = product(name: "Crypto", package: "swift-crypto")
    static let cryptoExtras = product(name: "CryptoExtras", package: "swift-crypto")
    static let deque = product(name: "DequeModule", package: "swift-collections")
    static let grdb = product(name: "GRDB", package: "GRDB.swift")
    static let grdbSQLite = product(name: "GRDBSQLite", package: "GRDB.swift")
    static let httpTypes = product(name: "HTTPTypes", package: "swift-http-types")
    static let hummingbird = product(name: "Hummingbird", package: "hummingbird")
    static let logging = product(name: "Logging", package: "swift-log")
    static let metrics = product(name: "Metrics", package: "swift-metrics")
    static let coreMetrics = product(name: "CoreMetrics", package: "swift-metrics")
    static let nioCore = product(name: "NIOCore", package: "swift-nio")
    static let nioPosix = product(name: "NIOPosix", package: "swift-nio")
    static let nioHTTP1 = product(name: "NIOHTTP1", package: "swift-nio")
    static let nioTLS = product(name: "NIOTLS", package: "swift-nio")
    static let nioEmbedded = product(name: "NIOEmbedded", package: "swift-nio")
    static let nioHTTPTypes = product(name: "NIOHTTPTypes", package: "swift-nio-extras")
    static let nioHTTPTypesHTTP1 = product(name: "NIOHTTPTypesHTTP1", package: "swift-nio-extras")
    static let hummingbirdCore = product(name: "HummingbirdCore", package: "hummingbird")
    static let nioHPACK = product(name: "NIOHPACK", package: "swift-nio-http2")
    static let nioHTTP2 = product(name: "NIOHTTP2", package: "swift-nio-http2")
    static let nioSSL = product(name: "NIOSSL", package: "swift-nio-ssl")
    static let protobuf = product(name: "SwiftProtobuf", package: "swift-protobuf")
    static let serviceLifecycle = product(name: "ServiceLifecycle", package: "swift-service-lifecycle")
    static let tracing = product(name: "Tracing", package: "swift-distributed-tracing")
    static let unixSignals = product(name: "UnixSignals", package: "swift-service-lifecycle")
    static let yams = product(name: "Yams", package: "Yams")
    static let x509 = product(name: "X509", package: "swift-certificates")
    static let asn1 = product(name: "SwiftASN1", package: "swift-asn1")
}

/// One test target per module, in `Tests/<module>Tests`.
func tests(of module: String, _ more: [Target.Dependency] = []) -> Target {
    .testTarget(
        name: "\(module)Tests",
        dependencies: [.init(stringLiteral: module), "TestSupport", .logging] + more,
        swiftSettings: swiftSettings)
}

let package = Package(
    name: "beckon",
    platforms: [.macOS(.v15)],
    products: [
        .executable(name: "beckon", targets: ["beckon"]),
        .library(name: "DeviceKit", targets: ["DeviceKit"]),
    ],
    dependencies: [
        .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2"),
        .package(url: "https://github.com/apple/swift-asn1", from: "1.7.4"),
        .package(url: "https://github.com/apple/swift-certificates", from: "1.21.1"),
        .package(url: "https://github.com/apple/swift-collections", from: "1.6.0"),
        .package(
            url: "https://github.com/apple/swift-configuration", from: "1.4.0",
            traits: ["YAML"]),
        .package(url: "https://github.com/apple/swift-crypto", from: "4.5.2"),
        .package(url: "https://github.com/apple/swift-distributed-tracing", from: "1.7.3"),
        .package(url: "https://github.com/apple/swift-http-types", from: "1.8.0"),
        .package(url: "https://github.com/apple/swift-log", from: "1.16.2"),
        .package(url: "https://github.com/apple/swift-metrics", from: "2.13.0"),
        .package(url: "https://github.com/apple/swift-nio", from: "2.101.2"),
        .package(url: "https://github.com/apple/swift-nio-extras", from: "1.30.0"),
        .package(url: "https://github.com/apple/swift-nio-http2", from: "1.46.0"),
        .package(url: "https://github.com/apple/swift-nio-ssl", from: "2.37.6"),
        .package(url: "https://github.com/apple/swift-protobuf", from: "1.39.0"),
        .package(url: "https://github.com/groue/GRDB.swift", from: "7.10.0"),
        .package(url: "https://github.com/jpsim/Yams", from: "6.2.2"),
        .package(url: "https://github.com/hummingbird-project/hummingbird", from: "2.28.1"),
        .package(url: "https://github.com/swift-server/async-http-client", from: "1.37.0"),
        .package(url: "https://github.com/swift-server/swift-service-lifecycle", from: "2.13.0"),
    ],
    targets: [
        .systemLibrary(
            name: "CRdKafka", pkgConfig: "rdkafka", providers: [.apt(["librdkafka-dev"])]),
        .systemLibrary(
            name: "CNghttp2", pkgConfig: "libnghttp2", providers: [.apt(["libnghttp2-dev"])]),
        .systemLibrary(
            name: "CLibPQ", pkgConfig: "libpq", providers: [.apt(["libpq-dev"])]),
        .systemLibrary(name: "CAllocator"),

        .target(name: "Wire", dependencies: [.crypto], swiftSettings: swiftSettings),
        .target(
            name: "KafkaClient",
            dependencies: ["CRdKafka", "Wire", .deque, .logging],
            swiftSettings: swiftSettings),
        .target(
            name: "ChallengeModel",
            dependencies: ["Wire", .crypto, .protobuf],
            exclude: ["beckon.proto"],
            swiftSettings: swiftSettings),
        .target(
            name: "Challenges",
            dependencies: ["ChallengeModel", "Wire", .crypto],
            swiftSettings: swiftSettings),
        .target(
            name: "Storage",
            dependencies: [
                "CLibPQ", "ChallengeModel", "Challenges", "Wire", .crypto, .deque, .grdb, .grdbSQLite, .logging,
            ],
            swiftSettings: swiftSettings),
        .target(
            name: "PushProviders",
            dependencies: ["ChallengeModel", "Wire", .crypto, .cryptoExtras, .nioSSL],
            swiftSettings: swiftSettings),
        .target(
            name: "PushGateway",
            dependencies: [
                "CNghttp2", "ChallengeModel", "PushProviders", "Wire", .asyncHTTPClient, .deque, .logging, .nioCore,
                .nioHTTP1, .nioPosix, .nioSSL, .nioTLS,
            ],
            swiftSettings: swiftSettings),
        .target(
            name: "HTTPEdge",
            dependencies: [
                "Wire", .deque, .hummingbirdCore, .logging, .metrics, .nioCore, .nioHTTP1, .nioHTTPTypes,
                .nioHTTPTypesHTTP1, .nioPosix, .nioSSL, .serviceLifecycle,
            ],
            swiftSettings: swiftSettings),
        .target(
            name: "ServiceSupport",
            dependencies: [
                "ChallengeModel", "HTTPEdge", "KafkaClient", "PushProviders", "Wire", .asyncHTTPClient, .configuration,
                .coreMetrics, .hummingbird, .hummingbirdCore, .logging, .nioCore, .nioHTTP1, .nioPosix, .nioSSL,
                .serviceLifecycle, .tracing, .unixSignals, .yams,
            ],
            swiftSettings: swiftSettings),
        .target(
            name: "KafkaGroup",
            dependencies: ["ChallengeModel", "KafkaClient", "ServiceSupport", "Wire", .logging],
            swiftSettings: swiftSettings),
        .target(
            name: "Producer",
            dependencies: [
                "ChallengeModel", "Challenges", "GuardedHTTP", "HTTPEdge", "KafkaClient", "KafkaGroup", "PushProviders",
                "ServiceSupport", "Wire", .coreMetrics, .crypto, .httpTypes, .hummingbirdCore, .logging, .metrics,
                .nioCore, .nioHTTP1, .serviceLifecycle, .tracing,
            ],
            swiftSettings: swiftSettings),
        .target(
            name: "DispatcherWorker",
            dependencies: [
                "ChallengeModel", "KafkaClient", "KafkaGroup", "PushGateway", "PushProviders", "ServiceSupport", "Wire",
                .crypto, .deque, .logging, .metrics, .serviceLifecycle, .tracing,
            ],
            swiftSettings: swiftSettings),
        .target(
            name: "AckTracker",
            dependencies: [
                "ChallengeModel", "KafkaClient", "KafkaGroup", "PushProviders", "ServiceSupport", "Wire", .coreMetrics,
                .deque, .logging, .serviceLifecycle, .tracing,
            ],
            swiftSettings: swiftSettings),
        .target(
            name: "GuardedHTTP",
            dependencies: ["Wire", .nioCore, .nioHTTP1, .nioPosix, .nioSSL, .nioTLS],
            swiftSettings: swiftSettings),
        .target(
            name: "Webhooks",
            dependencies: [
                "ChallengeModel", "Challenges", "GuardedHTTP", "KafkaClient", "KafkaGroup", "ServiceSupport", "Wire",
                .coreMetrics, .crypto, .logging, .metrics, .serviceLifecycle, .tracing,
            ],
            swiftSettings: swiftSettings),
        .target(
            name: "DeviceKit",
            dependencies: ["Wire", .asyncHTTPClient, .crypto, .nioCore, .nioHTTP1],
            swiftSettings: swiftSettings),
        .target(
            name: "Simulators",
            dependencies: [
                "DeviceKit", "HTTPEdge", "Wire", .asn1, .asyncHTTPClient, .crypto, .cryptoExtras, .deque, .httpTypes,
                .hummingbird, .logging,
                .nioCore, .nioHPACK, .nioHTTP1, .nioHTTP2, .nioPosix, .nioSSL, .nioTLS, .serviceLifecycle, .x509,
            ],
            swiftSettings: swiftSettings),
        .target(
            name: "Doctor",
            dependencies: [
                "ChallengeModel", "GuardedHTTP", "HTTPEdge", "KafkaClient", "PushGateway", "PushProviders",
                "ServiceSupport", "Storage", "Wire", .logging, .nioSSL,
            ],
            swiftSettings: swiftSettings),
        .target(
            name: "Console",
            dependencies: [
                "ChallengeModel", "DeviceKit", "HTTPEdge", "ServiceSupport", "Simulators", "Wire", .asyncHTTPClient,
                .crypto, .deque, .httpTypes, .hummingbirdCore, .logging, .metrics, .nioCore, .nioHTTP1, .nioPosix,
                .serviceLifecycle,
            ],
            swiftSettings: swiftSettings),
        .executableTarget(
            name: "beckon",
            dependencies: [
                "AckTracker", "CAllocator", "ChallengeModel", "Challenges", "Console", "Storage", "DeviceKit",
                "DispatcherWorker", "Doctor",
                "GuardedHTTP", "HTTPEdge", "KafkaClient", "KafkaGroup",
                "Producer", "PushGateway", "PushProviders", "ServiceSupport", "Simulators", "Webhooks", "Wire",
                .argumentParser,
                .asyncHTTPClient, .crypto, .hummingbird, .logging, .nioCore, .nioHTTP1, .nioPosix, .nioSSL,
                .serviceLifecycle, .unixSignals,
            ],
            swiftSettings: swiftSettings),

        .target(
            name: "TestSupport",
            dependencies: [
                "KafkaClient", "ChallengeModel", "ServiceSupport", "Simulators", "Wire", .asyncHTTPClient, .logging,
                .nioCore, .nioPosix,
            ],
            path: "Tests/TestSupport",
            swiftSettings: swiftSettings),
        tests(of: "Wire", [.crypto]),
        .testTarget(name: "ArchitectureTests", swiftSettings: swiftSettings),
        tests(of: "KafkaClient", ["Wire"]),
        tests(of: "ChallengeModel", ["Wire", .crypto, .protobuf]),
        tests(
            of: "Storage",
            [
                "ChallengeModel", "Challenges", "KafkaClient", "ServiceSupport", "Wire", .crypto, .grdb, .grdbSQLite,
            ]),
        tests(of: "PushProviders", ["ChallengeModel", "Wire", .crypto, .nioSSL]),
        tests(
            of: "PushGateway",
            [
                "ChallengeModel", "PushProviders", "Simulators", "Wire", .asn1, .asyncHTTPClient, .crypto,
                .cryptoExtras,
                .nioCore, .nioHPACK, .nioHTTP2, .nioPosix, .nioSSL, .nioTLS, .x509,
            ]),
        tests(of: "HTTPEdge", [.coreMetrics, .metrics, .nioCore, .nioEmbedded, .nioHTTP1, .nioPosix]),
        tests(
            of: "ServiceSupport",
            [
                "ChallengeModel", "HTTPEdge", "KafkaClient", "Wire", .asyncHTTPClient, .configuration, .httpTypes,
                .hummingbirdCore, .metrics, .coreMetrics, .nioCore, .nioHTTP1, .nioPosix, .nioSSL, .serviceLifecycle,
                .tracing,
            ]),
        tests(of: "KafkaGroup", ["ChallengeModel", "KafkaClient", "ServiceSupport", "Wire"]),
        tests(
            of: "Producer",
            [
                "ChallengeModel", "Challenges", "Storage", "DeviceKit", "HTTPEdge", "KafkaClient", "KafkaGroup",
                "ServiceSupport", "Wire",
                .asyncHTTPClient, .coreMetrics, .crypto, .hummingbird, .nioCore, .nioHTTP1, .nioPosix, .nioSSL,
                .serviceLifecycle, .tracing,
            ]),
        tests(
            of: "DispatcherWorker",
            [
                "ChallengeModel", "KafkaClient", "KafkaGroup", "PushGateway", "PushProviders", "ServiceSupport",
                .crypto, .metrics, .nioCore, .serviceLifecycle,
            ]),
        tests(
            of: "Doctor",
            [
                "ChallengeModel", "Challenges", "GuardedHTTP", "KafkaClient", "PushGateway", "PushProviders",
                "ServiceSupport", "Simulators", "Storage", "Wire", .crypto, .grdb, .nioCore, .nioPosix,
            ]),
        tests(of: "GuardedHTTP", ["Simulators", .nioCore, .nioEmbedded, .nioHTTP1, .nioPosix]),
        tests(
            of: "Console",
            [
                "HTTPEdge", "ServiceSupport", "Simulators", "Wire", .asyncHTTPClient, .httpTypes, .metrics, .nioCore,
                .nioHTTP1, .nioPosix, .serviceLifecycle,
            ]),
        .testTarget(
            name: "WebhooksTests",
            dependencies: [
                "ChallengeModel", "Challenges", "GuardedHTTP", "KafkaClient", "KafkaGroup", "ServiceSupport",
                "Simulators", "Storage", "TestSupport", "Webhooks", "Wire", .coreMetrics, .crypto, .logging,
                .serviceLifecycle,
            ],
            exclude: ["validators"],
            swiftSettings: swiftSettings),
        tests(of: "AckTracker", ["ChallengeModel", "KafkaClient", "KafkaGroup", "ServiceSupport", "Wire"]),
        tests(of: "DeviceKit", ["Wire", .asyncHTTPClient, .crypto, .hummingbird, .httpTypes, .nioCore]),
        tests(
            of: "Simulators",
            [
                "DeviceKit", "Wire", .asyncHTTPClient, .crypto, .cryptoExtras, .httpTypes, .hummingbird, .nioCore,
                .nioHPACK,
                .nioHTTP1, .nioHTTP2, .nioPosix, .nioSSL, .nioTLS, .serviceLifecycle,
            ]),
        .testTarget(
            name: "Fuzz",
            dependencies: [
                "AckTracker", "ChallengeModel", "Challenges", "DispatcherWorker", "KafkaClient", "KafkaGroup",
                "Producer",
                "PushGateway", "PushProviders", "ServiceSupport", "Storage", "TestSupport", "Wire", .nioCore, .protobuf,
            ],
            swiftSettings: swiftSettings),
        .testTarget(
            name: "EndToEnd",
            dependencies: [
                "ChallengeModel", "DeviceKit", "KafkaClient", "ServiceSupport", "Simulators", "TestSupport", "Wire",
                .asyncHTTPClient, .logging, .nioCore, .nioHTTP1, .protobuf, .yams,
            ],
            swiftSettings: swiftSettings),
        .testTarget(
            name: "Conformance",
            dependencies: ["TestSupport"],
            exclude: ["generated", "readme.py", "requirements.txt", "run", "wire"],
            swiftSettings: swiftSettings),
        .testTarget(
            name: "Faults",
            dependencies: [
                "ChallengeModel", "DeviceKit", "KafkaClient", "ServiceSupport", "Simulators", "TestSupport", "Wire",
                .asyncHTTPClient,
                .logging, .nioCore, .nioHTTP1,
            ],
            swiftSettings: swiftSettings),
    ]
)
