import ChallengeModel
import Foundation
import Wire

/// The changed settings with their values before and after, for the audit trail. A pure value.
struct SettingChanges {
    private var changes: [String: JSONValue] = [:]

    init(from before: Service, to after: Service) throws {
        note(try Self.settings(of: before), try Self.settings(of: after))
    }

    init(from before: Webhook, to after: Webhook) {
        note(Self.settings(of: before), Self.settings(of: after))
    }

    /// `{"<setting>":{"before":…,"after":…}}`, at most 4 KB as text. Empty: nothing was changed.
    var members: [(name: String, value: JSONValue)] {
        let members = changes.sorted { $0.key < $1.key }.map { (name: $0.key, value: $0.value) }
        // When the values are too long, only the names are kept.
        return JSONValue.object(members).text.utf8.count <= 4096 ? members : members.map { ($0.name, .null) }
    }

    private mutating func note(_ before: [String: JSONValue], _ after: [String: JSONValue]) {
        for name in Set(before.keys).union(after.keys) where before[name] ?? .null != after[name] ?? .null {
            changes[name] = .object([("after", after[name] ?? .null), ("before", before[name] ?? .null)])
        }
    }

    private static func settings(of service: Service) throws -> [String: JSONValue] {
        var settings = try members(of: Array(service.settings.utf8))
        settings.merge(try members(of: Array(JSONEncoder.line.encode(service.policy)))) { $1 }
        settings["FriendlyName"] = .string(service.friendlyName)
        settings["Push.IncludeDate"] = .boolean(service.includeDate)
        settings["Push.ApnCredentialSid"] = .optional(service.apnCredential?.rawValue)
        settings["Push.FcmCredentialSid"] = .optional(service.fcmCredential?.rawValue)
        settings["Push.HmsCredentialSid"] = .optional(service.hmsCredential?.rawValue)
        settings["Push.WebPushCredentialSid"] = .optional(service.webPushCredential?.rawValue)
        return settings
    }

    /// Without the query of its URL, where customers keep secrets.
    private static func settings(of webhook: Webhook) -> [String: JSONValue] {
        [
            "FriendlyName": .string(webhook.friendlyName),
            "EventTypes": .array(webhook.eventTypes.map { .string($0) }),
            "WebhookUrl": .string(String(webhook.url.prefix { $0 != "?" })),
            "Status": .string(webhook.isEnabled ? "enabled" : "disabled"), "Version": .string(webhook.version),
        ]
    }

    /// The members of an object that is written as JSON.
    private static func members(of json: [UInt8]) throws -> [String: JSONValue] {
        let members = try JSONParser.parse(json, .reply).members ?? []
        return Dictionary(members.map { ($0.name, $0.value) }) { $1 }
    }
}
