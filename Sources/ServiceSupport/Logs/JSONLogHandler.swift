import Foundation
public import Logging
import Synchronization
import Wire

/// The form of log lines: the setting `log.format`.
public enum LogFormat: String, CaseIterable, Sendable {
    case text
    case json
}

/// Writes each log entry as one line with a JSON object: `time`, `level`, `role`, `message`, and the metadata beside
/// them. A metadata key that is one of these names gets `_` at its end.
public struct JSONLogHandler: LogHandler {
    private static let names: Set = ["time", "level", "role", "message"]
    /// Lines of different threads do not mix.
    private static let output = Mutex(())

    private let label: String
    private let write: @Sendable ([UInt8]) -> Void
    public var logLevel = Logger.Level.trace
    public var metadata: Logger.Metadata = [:]
    public var metadataProvider: Logger.MetadataProvider?

    /// - Parameters:
    ///   - label: the role.
    ///   - write: gets each line with its end; default: writes it to stderr.
    public init(
        label: String, metadataProvider: Logger.MetadataProvider? = nil,
        write: @escaping @Sendable ([UInt8]) -> Void = JSONLogHandler.toStandardError
    ) {
        self.label = label
        self.metadataProvider = metadataProvider
        self.write = write
    }

    public subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { metadata[key] }
        set { metadata[key] = newValue }
    }

    public func log(event: LogEvent) {
        var all = metadata
        if let provider = metadataProvider { all.merge(provider.get()) { $1 } }
        if let more = event.metadata { all.merge(more) { $1 } }
        var json = JSONWriter(capacity: 512)
        json.raw(#"{"time":"#)
        json.string(Timestamp.rfc3339Milliseconds(Timestamp.nowMs()))
        json.raw(#","level":"#)
        json.string(event.level.rawValue)
        json.raw(#","role":"#)
        json.string(label)
        json.raw(#","message":"#)
        json.string(event.message.description)
        for (key, value) in all.sorted(by: { $0.key < $1.key }) {
            json.raw(",")
            json.name(Self.names.contains(key) ? key + "_" : key)
            Self.write(value, to: &json)
        }
        json.raw("}\n")
        write(json.bytes)
    }

    private static func write(_ value: Logger.MetadataValue, to json: inout JSONWriter) {
        switch value {
        case .string(let text): json.string(text)
        case .stringConvertible(let convertible): json.string(convertible.description)
        case .array(let values): json.array(values) { write($0, to: &$1) }
        case .dictionary(let values):
            json.object(values.sorted { $0.key < $1.key }) { member, json in
                json.name(member.key)
                write(member.value, to: &json)
            }
        }
    }

    /// What cannot be written is lost: there is no other place to report it.
    public static let toStandardError: @Sendable ([UInt8]) -> Void = { line in
        output.withLock { _ in
            var left = line[...]
            while !left.isEmpty {
                let count = left.withUnsafeBytes { Foundation.write(STDERR_FILENO, $0.baseAddress, $0.count) }
                if count < 0, errno == EINTR { continue }
                guard count > 0 else { return }
                left = left.dropFirst(count)
            }
        }
    }
}

extension Logger {
    /// The logger of a process.
    /// - Parameter level: can be changed while the process runs.
    public static func beckon(_ label: String, format: LogFormat, level: LogLevel) -> Logger {
        Logger(label: label) { label in
            let provider = LogContext.provider
            let base: any LogHandler =
                switch format {
                case .text: EscapingLogHandler(StreamLogHandler.standardError(label: label, metadataProvider: provider))
                case .json: EscapingLogHandler(JSONLogHandler(label: label, metadataProvider: provider))
                }
            return LevelledLogHandler(base, level: level)
        }
    }
}
