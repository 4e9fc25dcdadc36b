/// A secret as the store keeps it: sealed, with the id of its key.
public struct SealedValue: Sendable, Hashable {
    package let keyID: String
    package let bytes: [UInt8]

    package init(keyID: String, bytes: [UInt8]) {
        self.keyID = keyID
        self.bytes = bytes
    }
}
