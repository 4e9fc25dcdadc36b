import Challenges
import Wire

/// The settings of a service without a column of their own. They are checked, stored as one JSON object by parameter
/// name, and returned. Most belong to features of the API that Beckon does not have, but helper libraries send them and
/// expect them back.
struct ServiceSettings: Sendable {
    private enum Kind {
        case boolean
        case text(ClosedRange<Int>)
        case integer(ClosedRange<Int>)
        case list
    }

    private static let kinds: KeyValuePairs<String, Kind> = [
        "CodeLength": .integer(4...10),
        "LookupEnabled": .boolean,
        "SkipSmsToLandlines": .boolean,
        "DtmfInputRequired": .boolean,
        "TtsName": .text(0...64),
        "Psd2Enabled": .boolean,
        "DoNotShareWarningEnabled": .boolean,
        "CustomCodeEnabled": .boolean,
        "Totp.Issuer": .text(1...64),
        "Totp.TimeStep": .integer(CodeRules.timeStep),
        "Totp.CodeLength": .integer(CodeRules.codeLength),
        "Totp.Skew": .integer(CodeRules.skew),
        "DefaultTemplateSid": .text(0...34),
        "Whatsapp.MsgServiceSid": .text(0...34),
        "Whatsapp.From": .text(0...64),
        "Passkeys.RelyingParty.Id": .text(0...255),
        "Passkeys.RelyingParty.Name": .text(0...255),
        "Passkeys.RelyingParty.Origins": .list,
        "Passkeys.AuthenticatorAttachment": .text(0...32),
        "Passkeys.DiscoverableCredentials": .text(0...32),
        "Passkeys.UserVerification": .text(0...32),
        "VerifyEventSubscriptionEnabled": .boolean,
    ]

    private var values: [String: JSONValue]

    /// - Parameter stored: JSON text of an object. Other text counts as empty.
    init(stored: String = "{}") {
        let members = (try? JSONParser.parse(stored))?.members ?? []
        values = Dictionary(members.map { ($0.name, $0.value) }) { $1 }
    }

    var isEmpty: Bool { values.isEmpty }

    /// The stored text, sorted by name, so that equal settings have equal texts.
    var stored: String {
        JSONValue.object(values.sorted { $0.key < $1.key }.map { ($0.key, $0.value) }).text
    }

    /// Applies the parameters that were sent. The other settings do not change.
    /// - Returns: whether anything was sent.
    mutating func read(_ parameters: inout ParameterReader) throws(RuleViolation) -> Bool {
        var isChanged = false
        for (name, kind) in Self.kinds {
            let value: JSONValue?
            switch kind {
            case .boolean: value = try parameters.boolean(name).map { .boolean($0) }
            case .text(let length): value = try parameters.text(name, length: length).map { .string($0) }
            case .integer(let range): value = try parameters.integer(name, in: range).map { .integer(Int64($0)) }
            case .list:
                let list = try parameters.list(name)
                guard list.count <= 20, list.allSatisfy({ $0.utf8.count <= 255 }) else {
                    throw RuleViolation(name, "at most 20 values of at most 255 characters")
                }
                value = list.isEmpty ? nil : .array(list.map { .string($0) })
            }
            guard let value else { continue }
            values[name] = value
            isChanged = true
        }
        return isChanged
    }

    /// The value, or `unset` when it was never set.
    func value(_ name: String, unset: JSONValue = .null) -> JSONValue { values[name] ?? unset }
}
