import Foundation
public import SwiftProtobuf
import Wire

/// The header `content-type` of a record.
public enum ContentType: String, Sendable, CaseIterable {
    case protobuf = "application/protobuf"
    /// The proto3 JSON mapping.
    case json = "application/json"
    case cloudEvent = "application/cloudevents+json"

    public static let headerName = "content-type"

    /// Reads a header's value; parameters such as `; charset=utf-8` are ignored. Nil for any other content type.
    public init?(header: some StringProtocol) {
        // The most frequent value.
        if header == ContentType.protobuf.rawValue {
            self = .protobuf
            return
        }
        let bare = header.split(separator: ";", maxSplits: 1).first ?? ""
        self.init(rawValue: bare.trimmingCharacters(in: .whitespaces).lowercased())
    }

    /// Determines the format of a record's value: protobuf, or the JSON mapping.
    /// - Parameter header: the text of the header. Nil means JSON when the value starts with `{` (external tools often
    ///   set no header), and protobuf otherwise.
    /// - Throws: ``RecordFormatError`` (`content-type`) for any other header.
    public init(ofRecord value: [UInt8], header: String?) throws(RecordFormatError) {
        guard let header else {
            self = value.first { $0 > 0x20 } == UInt8(ascii: "{") ? .json : .protobuf
            return
        }
        guard let known = ContentType(header: header), known != .cloudEvent else {
            throw RecordFormatError(
                reason: "content-type",
                "content-type is \"\(header.prefix(80))\"; expected application/protobuf or application/json")
        }
        self = known
    }
}

/// The error for a record that cannot be read: the fault, and the expected form.
public struct RecordFormatError: Error, Equatable, Sendable, CustomStringConvertible {
    /// A stable word for metrics and the dead-letter header: `content-type`, `protobuf`, `json`, `mac`, `empty`,
    /// `field`, `range`.
    public let reason: String
    public let description: String

    /// Reasons that records of every topic can have, in metrics.
    public static let usualReasons = [
        "content-type", "empty", "field", "json", "key", "mac", "misplaced", "protobuf", "range",
    ]

    public init(reason: String, _ description: String) {
        self.reason = reason
        self.description = description
    }
}

extension RecordValue {
    /// Decodes a record's value and checks its numbers.
    /// - Parameter contentType: the header's text, see ``ContentType/init(ofRecord:header:)``.
    /// - Throws: ``RecordFormatError``.
    public init(value: [UInt8], contentType: String?) throws(RecordFormatError) {
        let type = try ContentType(ofRecord: value, header: contentType)
        do {
            switch type {
            case .protobuf:
                try self.init(serializedBytes: value)
            case .json, .cloudEvent:
                var options = JSONDecodingOptions()
                options.messageDepthLimit = 16
                try self.init(jsonUTF8Bytes: value, options: options)
            }
        } catch {
            throw RecordFormatError(
                reason: type == .protobuf ? "protobuf" : "json",
                "the value is not a \(Self.protoMessageName) in \(type.rawValue): \(error)")
        }
        try bound()
    }
}

extension SwiftProtobuf.Message {
    /// The value in protobuf.
    public func protobufBytes() -> [UInt8] {
        do {
            return try serializedBytes()
        } catch {
            // Only required fields of proto2, or an Any, can make this throw. The messages here have neither.
            preconditionFailure("\(Self.protoMessageName) cannot be serialised: \(error)")
        }
    }
}

extension Topic {
    /// The value of a record of this topic as JSON, for operators. It can contain push tokens and messages to people.
    /// - Returns: nil when the value cannot be decoded.
    public func json(ofRecord value: [UInt8], contentType: String?) -> String? {
        func text<Value: RecordValue>(_: Value.Type) -> String? {
            try? Value(value: value, contentType: contentType).jsonString()
        }
        switch self {
        case .requests: return text(ChallengeRequest.self)
        case .receiptRequests, .receipts: return text(Receipt.self)
        case .challenges: return text(ChallengeRecord.self)
        case .outcomes: return text(OutcomeRecord.self)
        case .resolutions: return text(Resolution.self)
        case .configuration: return text(SealedConfiguration.self)
        case .events: return (try? JSONParser.parse(value, .reply))?.text
        case .deadLetters: return nil
        }
    }
}
