import ChallengeModel
import Foundation

/// The value of a setting as JSON.
private enum SettingValue: Codable, Equatable {
    case null
    case boolean(Bool)
    case integer(Int64)
    case number(Double)
    case text(String)
    case list([SettingValue])
    case object([String: SettingValue])

    init(_ text: String?) { self = text.map { .text($0) } ?? .null }

    init(from decoder: any Decoder) throws {
        let container = try decoder.singleValueContainer()
        if container.decodeNil() {
            self = .null
        } else if let value = try? container.decode(Bool.self) {
            self = .boolean(value)
        } else if let value = try? container.decode(Int64.self) {
            self = .integer(value)
        } else if let value = try? container.decode(Double.self) {
            self = .number(value)
        } else if let value = try? container.decode(String.self) {
            self = .text(value)
        } else if let value = try? container.decode([SettingValue].self) {
            self = .list(value)
        } else {
            self = .object(try container.decode([String: SettingValue].self))
        }
    }

    func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        switch self {
        case .null: try container.encodeNil()
        case .boolean(let value): try container.encode(value)
        case .integer(let value): try container.encode(value)
        case .number(let value): try container.encode(value)
        case .text(let value): try container.encode(value)
        case .list(let value): try container.encode(value)
        case .object(let value): try container.encode(value)
        }
    }

    /// The members of an object in its JSON form.
    static func members(_ encoded: some Encodable) throws -> [String: SettingValue] {
        try members(of: JSONEncoder().encode(encoded))
    }

    static func members(of json: Data) throws -> [String: SettingValue] {
        try JSONDecoder().decode([String: SettingValue].self, from: json)
    }
}

/// The changed settings with their values before and after, for the audit trail. A pure value.
struct SettingChanges {
    private var changes: [String: SettingValue] = [:]

    init(from before: Service, to after: Service) throws {
        note(try Self.settings(of: before), try Self.settings(of: after))
    }

    init(from before: Webhook, to after: Webhook) {
        note(Self.settings(of: before), Self.settings(of: after))
    }

    /// JSON text of `{"<setting>":{"before":…,"after":…}}`, at most 4 KB; nil: nothing was changed.
    var text: String? {
        guard !changes.isEmpty else { return nil }
        let text = Self.text(changes)
        // When the values are too long, only the names are kept.
        return text.utf8.count <= 4096 ? text : Self.text(changes.mapValues { _ in .null })
    }

    private static func text(_ changes: [String: SettingValue]) -> String {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        return (try? encoder.encode(changes)).map { String(decoding: $0, as: UTF8.self) } ?? "{}"
    }

    private mutating func note(_ before: [String: SettingValue], _ after: [String: SettingValue]) {
        for name in Set(before.keys).union(after.keys) where before[name] ?? .null != after[name] ?? .null {
            changes[name] = .object(["before": before[name] ?? .null, "after": after[name] ?? .null])
        }
    }

    private static func settings(of service: Service) throws -> [String: SettingValue] {
        var settings = try SettingValue.members(of: Data(service.settings.utf8))
        settings.merge(try SettingValue.members(service.policy)) { $1 }
        settings["FriendlyName"] = .text(service.friendlyName)
        settings["Push.IncludeDate"] = .boolean(service.includeDate)
        settings["Push.ApnCredentialSid"] = SettingValue(service.apnCredential?.rawValue)
        settings["Push.FcmCredentialSid"] = SettingValue(service.fcmCredential?.rawValue)
        settings["Push.HmsCredentialSid"] = SettingValue(service.hmsCredential?.rawValue)
        settings["Push.WebPushCredentialSid"] = SettingValue(service.webPushCredential?.rawValue)
        return settings
    }

    /// The settings of a webhook without the query of its URL, because customers put secrets there.
    private static func settings(of webhook: Webhook) -> [String: SettingValue] {
        [
            "FriendlyName": .text(webhook.friendlyName),
            "EventTypes": .list(webhook.eventTypes.map { .text($0) }),
            "WebhookUrl": .text(String(webhook.url.prefix { $0 != "?" })),
            "Status": .text(webhook.isEnabled ? "enabled" : "disabled"), "Version": .text(webhook.version),
        ]
    }
}
