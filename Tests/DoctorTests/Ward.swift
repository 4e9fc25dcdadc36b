import ChallengeModel
import Doctor
import Foundation
import KafkaClient
import Logging
import NIOCore
import NIOPosix
import ServiceSupport
import Testing

/// What the tests of the doctor share.
enum Ward {
    static let silent = Logger(label: "doctor") { _ in SwiftLogNoOpLogHandler() }

    static func role(_ role: Role, _ configure: (inout ExaminedRole) -> Void) -> ExaminedRole {
        var examined = ExaminedRole(role)
        configure(&examined)
        return examined
    }

    /// A role that only has a way to Kafka.
    static func kafka(
        _ servers: String, _ properties: [String: String] = [:], role: Role = .ackTracker, isEmbedded: Bool = false,
        prefix: String = "beckon."
    ) -> ExaminedRole {
        Ward.role(role) {
            $0.kafka = KafkaConfiguration(
                bootstrapServers: servers, properties: properties, isEmbedded: isEmbedded)
            $0.topics = TopicNames(prefix: prefix)
            $0.groups = [prefix + role.rawValue]
        }
    }

    static func examine(
        _ roles: [ExaminedRole], only: Set<String> = [], patience: Duration = .seconds(60)
    ) async -> [String: CheckResult] {
        var examination = Examination(roles)
        examination.only = only
        examination.patience = patience
        let results = await Doctor(examination, logger: silent).examine()
        return Dictionary(uniqueKeysWithValues: results.map { ($0.id, $0) })
    }

    static func withFolder<Value>(_ body: (URL) async throws -> Value) async throws -> Value {
        let folder = FileManager.default.temporaryDirectory.appending(path: "beckon-doctor-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: folder) }
        return try await body(folder)
    }
}

extension [String: CheckResult] {
    /// Expects exactly one finding of a check.
    /// - Parameters:
    ///   - mend: a part of what to do.
    func expect(
        _ check: String, _ mistake: String, saw: String = "", mend: String,
        sourceLocation: SourceLocation = #_sourceLocation
    ) {
        let findings = self[check]?.findings ?? []
        #expect(
            findings.count == 1 && findings.first?.mistake == mistake && findings.first?.check == check,
            "\(check): \(self[check].map { "\($0.verdict)" } ?? "was not run")", sourceLocation: sourceLocation)
        guard let finding = findings.first else { return }
        if !saw.isEmpty { #expect(finding.saw.contains(saw), sourceLocation: sourceLocation) }
        #expect(finding.mend.contains(mend), sourceLocation: sourceLocation)
        #expect(!finding.means.contains("<") && !finding.saw.isEmpty, sourceLocation: sourceLocation)
    }

    /// Checks that have found something.
    var ill: [String] { values.filter { !$0.findings.isEmpty }.map(\.id).sorted() }

    func isPassed(_ check: String) -> Bool {
        if case .passed = self[check]?.verdict { true } else { false }
    }

    func reasonForSkipping(_ check: String) -> String? {
        if case .skipped(let because) = self[check]?.verdict { because } else { nil }
    }
}

/// A server that takes connections and does nothing, or writes some bytes to each.
final class DumbServer: Sendable {
    let port: Int
    private let channel: any Channel
    private let group: MultiThreadedEventLoopGroup

    init(saying bytes: [UInt8] = []) async throws {
        group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
        channel = try await ServerBootstrap(group: group)
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHandler(Handler(bytes: bytes))
                }
            }
            .bind(host: "127.0.0.1", port: 0).get()
        port = channel.localAddress?.port ?? 0
    }

    var address: String { "127.0.0.1:\(port)" }

    func stop() async {
        try? await channel.close().get()
        try? await group.shutdownGracefully()
    }

    private final class Handler: ChannelInboundHandler {
        typealias InboundIn = ByteBuffer
        private let bytes: [UInt8]

        init(bytes: [UInt8]) { self.bytes = bytes }

        func channelRead(context: ChannelHandlerContext, data: NIOAny) {
            guard !bytes.isEmpty else { return }
            context.writeAndFlush(NIOAny(ByteBuffer(bytes: bytes)), promise: nil)
            context.close(promise: nil)
        }
    }
}
