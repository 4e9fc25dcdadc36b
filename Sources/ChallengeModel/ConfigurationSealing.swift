import Foundation

/// Seals provider credentials for topic `configuration`, with AES-GCM under `BECKON_CONFIGURATION_KEYS`. The sealed
/// value is bound to account, SID and kind, so it is not valid under another SID.
extension SealedConfiguration {
    /// The `kind` of a provider credential.
    public static let credentialKind = "credential"

    /// Seals with the first key of the ring.
    /// - Parameters:
    ///   - credential: the credential, with account and credential SID set.
    ///   - version: 1 or more. It increases with every change of the credential.
    public init(sealing credential: ProviderCredential, version: Int64 = 1, keys: KeyRing) throws {
        self.init()
        accountSid = credential.accountSid
        sid = credential.credentialSid
        kind = Self.credentialKind
        self.version = version
        (keyID, sealed) = try keys.seal(credential.protobufBytes(), context: [accountSid, sid, kind])
    }

    /// A record that deletes a credential.
    /// - Parameter version: higher than the version of every record of the credential.
    public init(deleted sid: CredentialSID, account: AccountSID, version: Int64) {
        self.init()
        accountSid = account.rawValue
        self.sid = sid.rawValue
        kind = Self.credentialKind
        self.version = version
        deleted = true
    }

    /// - Throws: ``RecordFormatError`` (`field`) when the record is of another kind or holds another credential than it
    ///   says, ``SealError`` when no key has that id or the value was sealed for another account, SID or kind.
    public func openCredential(keys: KeyRing) throws -> ProviderCredential {
        guard kind == Self.credentialKind else {
            throw RecordFormatError(
                reason: "field", "kind is \"\(kind.prefix(40))\"; expected \"\(Self.credentialKind)\"")
        }
        let bytes = try keys.open(sealed, keyID: keyID, context: [accountSid, sid, kind])
        let credential = try ProviderCredential(value: Array(bytes), contentType: ContentType.protobuf.rawValue)
        guard credential.accountSid == accountSid, credential.credentialSid == sid else {
            throw RecordFormatError(
                reason: "field", "the account or SID in the sealed credential differs from its record")
        }
        return credential
    }
}
