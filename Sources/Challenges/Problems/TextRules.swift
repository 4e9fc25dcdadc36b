import ChallengeModel
import Wire

/// Text rules that several resources share.
package enum TextRules {
    /// Checks the backend's name for a person: 8 to 64 letters, digits and dashes. A name that has the form of a SID,
    /// of any kind and in any case, is refused, because paths accept both identities and SIDs, and case does not
    /// distinguish identities.
    package static func identity(_ text: String, parameter: String = "Identity") throws(RuleViolation) -> String {
        let isAllowed = text.utf8.allSatisfy { byte in
            isDigit(byte) || isLower(byte) || (UInt8(ascii: "A")...UInt8(ascii: "Z")).contains(byte)
                || byte == UInt8(ascii: "-")
        }
        guard isAllowed, (8...64).contains(text.utf8.count), !SIDForm.matches(text) else {
            throw RuleViolation(
                parameter,
                "8 to 64 letters, digits and dashes, and not the form of a SID (two letters and 32 hexadecimal digits)")
        }
        return text
    }

    /// Reads a JSON object whose values are strings. The sent text may have at most 1,024 characters.
    /// - Returns: the object in Beckon's own JSON form.
    package static func stringObject(_ text: String, parameter: String) throws(RuleViolation) -> String {
        guard text.unicodeScalars.count <= 1024 else {
            throw RuleViolation(parameter, "at most 1024 characters of JSON, got \(text.unicodeScalars.count)")
        }
        guard let value = try? JSONParser.parse(text), let members = value.members,
            members.allSatisfy({ $0.value.stringValue != nil })
        else {
            throw RuleViolation(parameter, "a JSON object whose values are strings, like {\"os\":\"iOS\"}")
        }
        return value.text
    }

    package static func isDigit(_ byte: UInt8) -> Bool { (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) }
    package static func isLower(_ byte: UInt8) -> Bool { (UInt8(ascii: "a")...UInt8(ascii: "z")).contains(byte) }
}
