public import Logging

/// Writes every log entry as one line. Keys, headers and reasons from outside may contain line ends, with which an
/// attacker could add lines to the log, and escape sequences for the terminal. Control characters, Unicode line
/// separators and marks that change the direction of text are written as `\n` or `\u{1b}`. A text is cut at ``longest``
/// characters.
public struct EscapingLogHandler: LogHandler {
    /// Maximum length of one text in Unicode scalars.
    public static let longest = 4000

    private var base: any LogHandler

    /// - Parameter base: the handler that gets the escaped texts.
    public init(_ base: any LogHandler) { self.base = base }

    public func log(event: LogEvent) {
        var event = event
        event.message = Logger.Message(stringLiteral: Self.escaped(event.message.description))
        var metadata = event.metadata.map(Self.escaped)
        if let error = event.error {
            metadata = metadata ?? [:]
            metadata?["error"] = .string(Self.escaped("\(error)"))
            event.error = nil
        }
        event.metadata = metadata
        LogLines.add(event.level)
        base.log(event: event)
    }

    public subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { base[metadataKey: key] }
        set { base[metadataKey: key] = newValue.map(Self.escaped) }
    }

    public var metadata: Logger.Metadata {
        get { base.metadata }
        set { base.metadata = Self.escaped(newValue) }
    }

    public var metadataProvider: Logger.MetadataProvider? {
        get { base.metadataProvider }
        set { base.metadataProvider = newValue }
    }

    public var logLevel: Logger.Level {
        get { base.logLevel }
        set { base.logLevel = newValue }
    }

    static func escaped(_ metadata: Logger.Metadata) -> Logger.Metadata {
        // The metadata keys come from this code and need no escape.
        metadata.mapValues { escaped($0) }
    }

    private static func escaped(_ value: Logger.MetadataValue) -> Logger.MetadataValue {
        switch value {
        case .string(let text): .string(escaped(text))
        case .stringConvertible(let convertible): .string(escaped(convertible.description))
        case .array(let values): .array(values.map { escaped($0) })
        case .dictionary(let values): .dictionary(escaped(values))
        }
    }

    /// The text as one line.
    package static func escaped(_ text: String) -> String {
        guard text.utf8.count > longest || text.unicodeScalars.contains(where: mustEscape) else { return text }
        var line = ""
        for scalar in text.unicodeScalars.prefix(longest) {
            switch scalar {
            case "\n": line += "\\n"
            case "\r": line += "\\r"
            case "\t": line += "\\t"
            case _ where mustEscape(scalar): line += "\\u{" + String(scalar.value, radix: 16) + "}"
            default: line.unicodeScalars.append(scalar)
            }
        }
        let left = text.unicodeScalars.count - longest
        return left > 0 ? line + "… (\(left) more)" : line
    }

    /// Whether a scalar is a control character, a line or paragraph separator, or a mark that changes the direction of
    /// text.
    private static func mustEscape(_ scalar: Unicode.Scalar) -> Bool {
        switch scalar.value {
        case 0..<0x20, 0x7f..<0xa0, 0x200e, 0x200f, 0x2028...0x202e, 0x2066...0x2069: true
        default: false
        }
    }
}
