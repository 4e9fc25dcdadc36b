import Foundation
public import SwiftProtobuf

/// The header `content-type` of a record.
public enum ContentType: String, Sendable, CaseIterable {
    case protobuf = "application/protobuf"
    /// The proto3 JSON mapping.
    case json = "application/json"
    case cloudEvent = "application/cloudevents+json"

    public static let headerName = "content-type"

    /// Reads a header's value; parameters such as `; charset=utf-8` are ignored. Nil when it is none of ours.
    public init?(header: some StringProtocol) {
        // Nearly always exactly this.
        if header == ContentType.protobuf.rawValue {
            self = .protobuf
            return
        }
        let bare = header.split(separator: ";", maxSplits: 1).first ?? ""
        self.init(rawValue: bare.trimmingCharacters(in: .whitespaces).lowercased())
    }
}

/// A record that cannot be read: what was wrong, and what would be right.
public struct RecordFormatError: Error, Equatable, Sendable, CustomStringConvertible {
    /// A stable word for metrics and the dead-letter header: `content-type`, `protobuf`, `json`, `mac`, `empty`, `field`, `range`.
    public let reason: String
    public let description: String

    public init(reason: String, _ description: String) {
        self.reason = reason
        self.description = description
    }
}

extension RecordValue {
    /// Decodes a record's value and checks its numbers.
    /// - Parameter contentType: the header's text; nil means protobuf on our own topics and JSON when the value starts
    ///   with `{` (outsiders' tools often set no header).
    /// - Throws: ``RecordFormatError``.
    public init(value: [UInt8], contentType: String?) throws(RecordFormatError) {
        let type: ContentType
        if let contentType {
            guard let known = ContentType(header: contentType), known != .cloudEvent else {
                throw RecordFormatError(
                    reason: "content-type",
                    "content-type is \"\(contentType.prefix(80))\"; expected application/protobuf or application/json")
            }
            type = known
        } else {
            type = value.first { $0 > 0x20 } == UInt8(ascii: "{") ? .json : .protobuf
        }
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
            // Only proto2 required fields or an Any can make this throw; we have neither.
            preconditionFailure("\(Self.protoMessageName) cannot be serialised: \(error)")
        }
    }
}
